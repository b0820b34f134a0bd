"""What every tuning method trains, and that it leaves the base model as it found it."""

import hashlib
from functools import partial

import pytest
import torch

from raypeft.methods import METHODS, Full, Lora, Method
from raypeft.models.loading import load_base
from raypeft.study.trials import make_trial
from raypeft.training.batches import collate, collate_for
from raypeft.training.step import Passes, optimise_step

PROMPT_IDS, ANSWER_IDS = [5, 6, 7], [8, 9, 0]


def weights_hash(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def tune_a_little(model, method):
    """One optimiser step at a rate that no rounding hides."""
    from raypeft.records import Example, Prompt

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if trainable:
        prompt = Prompt(Example("0", "a", "b"), PROMPT_IDS, ANSWER_IDS)
        passes = Passes(model, partial(collate_for, model, pad_token_id=1))
        optimise_step(passes, passes.add_gradients([[prompt]]), torch.optim.SGD(trainable, lr=10.0), 1.0)


@pytest.mark.parametrize("name", METHODS)
def test_after_a_method_the_base_is_as_it_was_or_known_to_be_spent(name):
    base = load_base("toy")
    before, modules = weights_hash(base.model), [type(module) for module in base.model.modules()]
    with METHODS[name]().applied(base) as model:
        tune_a_little(model, METHODS[name]())
    if base.intact:
        assert weights_hash(base.model) == before
        assert [type(module) for module in base.model.modules()] == modules
        assert not hasattr(base.model, "peft_config")
    else:
        assert base.model is None


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_trains_changes_what_the_model_says_and_one_that_does_not_does_not(name):
    base = load_base("toy")
    batch = {"input_ids": torch.tensor([PROMPT_IDS])}
    untuned = base.model.eval()(**batch).logits
    with METHODS[name]().applied(base) as model:
        tune_a_little(model, METHODS[name]())
        tuned = model.eval()(**batch).logits
        assert torch.equal(tuned, untuned) != METHODS[name].trains


def test_a_second_adapter_on_the_same_base_starts_afresh():
    base = load_base("toy")

    def first_loss():
        torch.manual_seed(0)
        with Lora().applied(base) as model:
            assert list(model.peft_config) == ["default"]
            tune_a_little(model, Lora())
            from raypeft.records import Example, Prompt

            batch = collate([Prompt(Example("0", "a", "b"), PROMPT_IDS, ANSWER_IDS)], 1, "cpu")
            return model.eval()(**batch).loss.item()

    assert first_loss() == first_loss()


def test_lora_trains_r_times_the_sizes_of_q_k_and_v():
    base = load_base("toy")
    config = base.model.config
    kv_size = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    per_layer = 4 * (2 * config.hidden_size + 2 * (config.hidden_size + kv_size))
    with Lora(lora_r=4).applied(base) as model:
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == config.num_hidden_layers * per_layer


def test_full_fine_tuning_trains_every_parameter():
    base = load_base("toy")
    with Full().applied(base) as model:
        assert all(parameter.requires_grad for parameter in model.parameters())


def test_target_modules_that_match_nothing_are_refused_with_their_names():
    with (
        pytest.raises(ValueError, match="no_such_module"),
        Lora(target_modules=("no_such_module",)).applied(load_base("toy")),
    ):
        pass


def test_a_base_outlives_a_method_that_could_not_be_applied():
    base = load_base("toy")
    before = weights_hash(base.model)
    with pytest.raises(ValueError), Lora(target_modules=("no_such_module",)).applied(base):
        pass
    with Lora().applied(base):
        pass
    assert weights_hash(base.model) == before


def test_the_menu_names_every_method_of_the_file_that_has_a_name():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    named = {kind for kind in below(Method) if isinstance(kind.model_fields["name"].default, str)}
    assert set(METHODS.values()) == named


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_fields_all_have_a_description(name):
    assert all(info.description for field, info in METHODS[name].model_fields.items() if field != "name")


@pytest.mark.parametrize(
    ("idle", "fields"),
    [
        ({"warmup_steps": 9}, {"tuning_method": "lora", "lr_scheduler_type": "constant"}),
        ({"prompt_tuning_init_text": "a"}, {"tuning_method": "prompt_tuning", "prompt_tuning_init": "RANDOM"}),
    ],
)
def test_trials_that_differ_only_in_what_their_method_never_reads_are_one(idle, fields):
    asked = {"model": "toy", "dataset": "toy", **fields}
    assert make_trial(asked | idle) == make_trial(asked)
    used = {"model": "toy", "dataset": "toy", "tuning_method": fields["tuning_method"]}
    assert make_trial(used | idle) != make_trial(used)
