"""The training loop against transformers.Trainer and against its own promises, on the embedded model."""

import copy
import math
from collections import Counter
from functools import cache
from statistics import NormalDist

import pytest
import torch
from transformers import Trainer, TrainingArguments

from raypeft.data import DATASETS
from raypeft.events import Step
from raypeft.methods import Full, Lora
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example, Prompt
from raypeft.training.batches import collate, collate_for, training_steps
from raypeft.training.loop import Training, train_model
from raypeft.training.losses import answer_loss, evaluate, example_losses
from raypeft.training.recipe import Recipe
from raypeft.training.step import Passes


@pytest.fixture(scope="module")
def base():
    return load_base("toy")


@pytest.fixture(scope="module")
def prompts(base):
    return [Encoder(base.tokenizer).encode(example) for example in DATASETS["toy"].load(None, None)["train"][:48]]


def trainable(base):
    return copy.deepcopy(base.model).requires_grad_(True)


class RecordingTrainer(Trainer):
    """transformers.Trainer fed with given batches; keeps the loss of every optimiser step unrounded."""

    def __init__(self, batches, **arguments):
        super().__init__(**arguments)
        self.batches, self.losses = batches, []

    def get_train_dataloader(self):
        return self.batches

    def training_step(self, *arguments, **keywords):
        loss = super().training_step(*arguments, **keywords)
        self.losses.append(loss.item())
        return loss


def trainer_losses(base, batches, method, folder):
    arguments = TrainingArguments(
        output_dir=str(folder),
        learning_rate=method.learning_rate,
        num_train_epochs=1,
        per_device_train_batch_size=method.per_device_train_batch_size,
        gradient_accumulation_steps=method.gradient_accumulation_steps,
        optim=method.optim,
        lr_scheduler_type=method.lr_scheduler_type,
        warmup_steps=method.warmup_steps,
        max_grad_norm=method.max_grad_norm,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
    )
    model = trainable(base)
    trainer = RecordingTrainer(batches, model=model, args=arguments, train_dataset=[{}] * len(batches))
    trainer.train()
    step = method.gradient_accumulation_steps
    return [sum(trainer.losses[at : at + step]) for at in range(0, len(trainer.losses), step)]


@pytest.mark.parametrize(("optim", "accumulation"), [("adafactor", 1), ("adafactor", 2), ("adamw_torch", 1)])
def test_the_loss_follows_the_trainer_of_transformers_step_by_step(base, prompts, tmp_path, optim, accumulation):
    method = Full(
        learning_rate=1e-3,
        num_train_epochs=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        optim=optim,
        eval_every_epochs=10,
    )
    prompts, pad = prompts[:32], base.tokenizer.pad_token_id
    steps = len(prompts) // 4 // accumulation
    batches = [collate(batch, pad, "cpu") for step in training_steps(prompts, method, 7, steps) for batch in step]
    told = []
    model = trainable(base)
    train_model(model, prompts, prompts[:2], Recipe(method, 7, pad), told.append)
    ours = [event.loss for event in told if isinstance(event, Step)]
    assert ours == pytest.approx(trainer_losses(base, batches, method, tmp_path), rel=1e-5)
    assert len(ours) == steps


@pytest.fixture(scope="module")
def trained_towards_nonsense(base, prompts):
    """A model that grows worse at real answers, and its result: the last weights are not the best ones. Trained without
    a test split and with one."""
    nonsense = [Prompt(prompt.example, prompt.prompt_ids, [9, 9, 9]) for prompt in prompts[:16]]
    method = Full(learning_rate=1e-3, num_train_epochs=2, eval_every_epochs=0.5, warmup_steps=0)

    def train(test):
        model = trainable(base)
        return model, train_model(model, nonsense, prompts[40:], Recipe(method, 1, 0), test=test)

    return train([]), train(prompts[20:30])


def test_the_model_is_left_with_the_weights_of_its_best_evaluation(prompts, trained_towards_nonsense):
    (model, result), _ = trained_towards_nonsense
    losses = [evaluation.eval_loss for evaluation in result.evaluations]
    assert losses[-1] > min(losses)
    assert result.best_eval_loss == min(losses)
    assert result.best_step == result.evaluations[losses.index(min(losses))].step
    assert evaluate(model, 0, prompts[40:], 4) == pytest.approx(min(losses), rel=1e-5)


def evaluated_steps(base, examples, as_paper, **fields):
    """The steps after which a training on so many examples is evaluated."""
    prompt = Prompt(Example("0", "a", "b"), [5], [7])
    training = Training(trainable(base), [prompt] * examples, Recipe(Full(**fields), 0, 0, as_paper=as_paper))
    steps = []
    for step in range(1, training.total_steps + 1):
        training.result.steps = step
        if training.evaluation_is_due:
            steps.append(step)
            training.result.evaluations.append(None)
    return steps


@pytest.mark.parametrize(("examples", "interval", "total"), [(2135, 54, 1335), (2192, 55, 1370)])
def test_the_paper_never_evaluates_its_last_steps_and_we_do_only_if_corrected(base, examples, interval, total):
    paper = evaluated_steps(base, examples, as_paper=True)
    assert paper == [interval * number for number in range(1, 25)]
    assert total - paper[-1] in (39, 50)
    assert evaluated_steps(base, examples, as_paper=False) == [*paper, total]


def test_the_papers_interval_counts_whole_steps_only(base):
    # 41 examples are 5 whole steps of 8 and a part of a sixth: a fifth of an epoch is 1 step, not 2.
    assert evaluated_steps(base, 41, as_paper=True, num_train_epochs=1) == [1, 2, 3, 4, 5, 6]
    assert evaluated_steps(base, 41, as_paper=False, num_train_epochs=1) == [2, 4, 6]


def test_a_training_shorter_than_the_papers_interval_is_evaluated_at_its_end(base):
    assert evaluated_steps(base, 80, as_paper=True, eval_every_epochs=10) == [50]


def test_under_paper_the_evaluation_loss_is_that_of_the_trainer_of_transformers(base, prompts, tmp_path):
    pad, method = base.tokenizer.pad_token_id, Full(per_device_train_batch_size=5)
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_eval_batch_size=5, use_cpu=True, report_to=[],
                                  disable_tqdm=True)  # fmt: skip
    trainer = Trainer(model=base.model, args=arguments, eval_dataset=prompts[:23],
                      data_collator=lambda batch: collate(batch, pad, "cpu"))  # fmt: skip
    theirs = trainer.evaluate()["eval_loss"]

    for micro in (None, 1):
        recipe = Recipe(method, 1, pad, as_paper=True, micro_batch_size=micro)
        training = Training(trainable(base), prompts, recipe)
        training.losses = [0.0]
        assert training.evaluate(prompts[:23]).eval_loss == pytest.approx(theirs, rel=1e-5)
    assert evaluate(base.model, pad, prompts[:23], 5) != pytest.approx(theirs, rel=1e-3)


def test_under_paper_each_accumulated_batch_weighs_the_same_whatever_its_number_of_tokens(base):
    batches = [[Prompt(Example(str(n), "a", "b"), [5, 6], [7 + n] * n)] for n in (1, 2, 30)]
    method = Full(per_device_train_batch_size=1, gradient_accumulation_steps=3, max_grad_norm=1e9)

    def gradients(**fields):
        model = trainable(base)
        training = Training(model, [batch[0] for batch in batches], Recipe(method, 1, 0, **fields))
        training.optimizer = Gradients(training.trainable)
        return training.step(batches).loss, training.optimizer.sum

    model = trainable(base)
    mean = sum(model(**collate(batch, 0, "cpu")).loss for batch in batches) / 3
    mean.backward()
    loss, found = gradients(as_paper=True)
    assert loss == pytest.approx(mean.item(), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)
    assert gradients()[0] != pytest.approx(mean.item(), rel=1e-2)


def test_the_same_seed_gives_the_same_weights(base, prompts):
    method = Full(learning_rate=1e-3, num_train_epochs=1, eval_every_epochs=1)

    def final_loss(seed):
        return train_model(trainable(base), prompts[:24], prompts[:8], Recipe(method, seed, 0)).best_eval_loss

    assert final_loss(3) == final_loss(3)
    assert final_loss(3) != final_loss(4)


def test_the_loss_of_a_batch_is_the_sum_of_its_examples_alone_whatever_the_padding(base, prompts):
    together = answer_loss(base.model, collate(prompts[:6], base.tokenizer.pad_token_id, "cpu"))
    alone = sum(answer_loss(base.model, collate([prompt], 0, "cpu")) for prompt in prompts[:6])
    assert together.item() == pytest.approx(alone.item(), rel=1e-5)


def test_the_loss_counts_answer_tokens_only_as_the_labels_of_transformers_do(base, prompts):
    batch = collate(prompts[:6], base.tokenizer.pad_token_id, "cpu")
    mean = base.model(**batch).loss.item()
    answer_tokens = sum(len(prompt.answer_ids) for prompt in prompts[:6])
    assert answer_loss(base.model, batch).item() / answer_tokens == pytest.approx(mean, rel=1e-5)


def test_half_an_epoch_is_half_its_steps(prompts):
    method = Full(num_train_epochs=0.5, per_device_train_batch_size=4)
    assert len(list(training_steps(prompts, method, 0, total_steps=6))) == 6


def test_a_loss_that_is_not_a_number_stops_the_training_and_names_the_step(base):
    prompts = [Prompt(Example(str(index), "a", "b"), [5, 6], [7, 0]) for index in range(8)]
    model = trainable(base)
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="nan at step 1 of 5; lower learning_rate"):
        train_model(model, prompts, prompts, Recipe(Full(), 0, 0))


SAVINGS = [
    {"gradient_checkpointing": True},
    {"micro_batch_size": 3},
    {"gradient_checkpointing": True, "micro_batch_size": 1},
]


@pytest.fixture(scope="module")
def losses_of_kind(small_model):
    """`losses_of_kind("t5", micro_batch_size=3)`: the losses of a short training of a model of that kind. Each is made
    once."""

    @cache
    def losses(kind, **saving):
        base = load_base(small_model(kind))
        examples = DATASETS["toy"].load(None, None)["train"][:16]
        pairs = [Encoder(base.tokenizer, base.is_encoder_decoder).encode(each) for each in examples]
        method = Lora(lora_dropout=0, num_train_epochs=2, eval_every_epochs=1, learning_rate=1e-3)
        for module in base.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # parts of a batch draw other masks than the whole
        torch.manual_seed(0)
        with method.applied(base) as model:
            result = train_model(model, pairs, pairs, Recipe(method, 1, base.tokenizer.pad_token_id, **saving))
        return [each.eval_loss for each in result.evaluations]

    return losses


@pytest.mark.parametrize("kind", ["llama", pytest.param("codegen", marks=pytest.mark.slow), "t5"])
@pytest.mark.parametrize("saving", SAVINGS, ids=["checkpointing", "parts", "both"])
def test_saving_memory_changes_no_loss(kind, saving, losses_of_kind):
    assert losses_of_kind(kind, **saving) == pytest.approx(losses_of_kind(kind), rel=1e-5)


@pytest.mark.parametrize("optim", ["adamw_8bit", pytest.param("paged_adamw_8bit", marks=pytest.mark.slow)])
def test_eight_bit_optimisers_follow_adamw_closely(base, prompts, optim):
    def last_loss(optim):
        method = Full(learning_rate=1e-3, num_train_epochs=2, optim=optim, eval_every_epochs=2)
        return train_model(trainable(base), prompts[:24], prompts[:8], Recipe(method, 3, 0)).evaluations[-1].eval_loss

    untrained = evaluate(base.model, 0, prompts[:8], 8)
    exact = last_loss("adamw_torch")
    assert abs(last_loss(optim) - exact) < 0.05 * (untrained - exact)


def test_an_encoder_decoders_loss_is_that_of_transformers_with_labels(small_model):
    base = load_base(small_model("t5"))
    examples = DATASETS["toy"].load(None, None)["train"][:6]
    pairs = [Encoder(base.tokenizer, True).encode(each) for each in examples]
    batch = collate_for(base.model, pairs, base.tokenizer.pad_token_id)
    answer_tokens = sum(len(pair.answer_ids) for pair in pairs)
    mean = base.model(**{name: value for name, value in batch.items() if name != "decoder_input_ids"}).loss.item()
    assert answer_loss(base.model, batch).item() / answer_tokens == pytest.approx(mean, rel=1e-5)


class Gradients:
    """Stands in for an optimiser: adds up the gradients of an epoch and changes no weight."""

    def __init__(self, parameters, **_):
        self.param_groups, self.sum = [{"params": parameters}], [torch.zeros_like(each) for each in parameters]

    def step(self):
        for total, parameter in zip(self.sum, self.param_groups[0]["params"], strict=True):
            total += parameter.grad

    def zero_grad(self, set_to_none=True):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_with_token_weighting_an_epochs_gradients_add_up_to_those_of_all_tokens_alike(base, prompts, strategy):
    model, prompts = trainable(base), prompts[:23]
    method = Full(
        num_train_epochs=1, max_grad_norm=1e9, train_sampling_strategy=strategy, loss_weighting="token",
        per_device_train_batch_size=5,
    )  # fmt: skip
    training = Training(model, prompts, Recipe(method, 1, 0))
    training.optimizer = Gradients(training.trainable)
    for batches in training_steps(prompts, method, 1, training.total_steps):
        training.step(batches)
    answer_loss(model, collate(prompts, 0, "cpu")).div(training.tokens).backward()
    for parameter, total in zip(training.trainable, training.optimizer.sum, strict=True):
        torch.testing.assert_close(total, parameter.grad, rtol=1e-3, atol=1e-5)


def weights_of_quarters(lengths, strategy, epochs):
    """What a token of the shortest quarter of the answers weighs against one of the longest quarter.

    What a token weighs in an epoch is one over the answer tokens of its batch.
    """
    train = [Prompt(Example(str(i), "a", "b"), [5] * 10, [7] * length) for i, length in enumerate(lengths)]
    method = Full(num_train_epochs=epochs, train_sampling_strategy=strategy)
    weights = Counter()
    for batches in training_steps(train, method, 3, epochs * math.ceil(len(train) / 8)):
        for batch in batches:
            tokens = sum(len(each.answer_ids) for each in batch)
            weights.update({each.example.id: 1 / tokens for each in batch})
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    quarter = len(lengths) // 4
    shares = [sum(weights[str(i)] * lengths[i] for i in part) / sum(lengths[i] for i in part)
              for part in (by_length[:quarter], by_length[-quarter:])]  # fmt: skip
    return shares[0] / shares[1]


# The answers of CoNaLa's training split have 26 tokens on average; their logarithms have a mean of 3.15 and a standard
# deviation of 0.51 in the toy model's tokenizer.
LIKE_CONALA = [round(math.exp(3.15 + 0.51 * NormalDist().inv_cdf((i + 0.5) / 2000))) for i in range(2000)]


@pytest.mark.parametrize(("strategy", "low", "high"), [("random", 1.14, 1.19), ("group_by_length", 3.5, 3.9)])
def test_with_batch_weighting_a_token_of_a_short_answer_weighs_as_much_more_as_the_field_says(strategy, low, high):
    assert "16 %" in Full.model_fields["loss_weighting"].description
    assert low < weights_of_quarters(LIKE_CONALA, strategy, 10) < high


def test_on_conala_itself_the_excess_of_a_short_answers_token_is_16_percent(base, real_data):
    tokenizer = base.tokenizer
    answers = [each.code for each in DATASETS["conala"].load(str(real_data / "conala"), None)["train"]]
    lengths = [len(ids) + 1 for ids in tokenizer(answers).input_ids]  # and the token that ends an answer
    assert weights_of_quarters(lengths, "random", 20) == pytest.approx(1.16, abs=0.015)


def test_the_test_split_is_measured_at_the_best_and_at_the_last_step_and_decides_nothing(
    prompts, trained_towards_nonsense
):
    (_, without), (model, result) = trained_towards_nonsense
    assert (without.test_loss, without.test_loss_last) == (None, None)
    assert without.best_eval_loss == result.best_eval_loss
    assert result.test_loss == pytest.approx(evaluate(model, 0, prompts[20:30], 16), rel=1e-6)
    assert result.test_loss < result.test_loss_last
    assert result.test_losses == example_losses(model, 0, prompts[20:30], 16)


def test_the_losses_of_single_examples_are_theirs_alone_in_the_order_given(base, prompts):
    found = example_losses(base.model, 0, prompts[:6], 4)
    alone = [answer_loss(base.model, collate([prompt], 0, "cpu")).item() for prompt in prompts[:6]]
    assert [loss for loss, _ in found] == pytest.approx(alone, rel=1e-5)
    assert [tokens for _, tokens in found] == [len(prompt.answer_ids) for prompt in prompts[:6]]


@pytest.mark.parametrize(("learning_rate", "unchanged"), [(1e-3, 0), (1e-30, 1)])
def test_tensors_that_training_left_as_they_were_are_counted(base, prompts, learning_rate, unchanged):
    model = trainable(base)
    method = Full(learning_rate=learning_rate, num_train_epochs=1, warmup_steps=0, eval_every_epochs=1)
    result = train_model(model, prompts[:8], prompts[40:44], Recipe(method, 1, 0))
    assert result.trained_tensors == len(list(model.parameters()))
    assert (result.unchanged_tensors == result.trained_tensors) == bool(unchanged)


TWO = [Prompt(Example(str(index), "a", "b"), [5, 6], [7, 0]) for index in range(8)]


def test_a_validation_loss_that_is_not_finite_stops_the_training_and_names_the_step(base, monkeypatch):
    monkeypatch.setattr("raypeft.training.loop.evaluate", lambda *_: math.inf)
    with pytest.raises(FloatingPointError, match="the validation loss must be finite but is inf at step 1 of 5"):
        train_model(trainable(base), TWO, TWO, Recipe(Full(), 0, 0))


def test_a_trained_weight_that_is_not_finite_stops_the_training_even_where_no_loss_shows_it(base):
    model = trainable(base)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.model.embed_tokens.weight.data[-1] = math.nan  # of a token that no example has
    with pytest.raises(FloatingPointError, match="a trained weight must be finite but is nan at step 1 of 5"):
        train_model(model, TWO, TWO, Recipe(Full(), 0, 0))


def test_a_gradient_that_is_not_finite_stops_the_training_before_it_reaches_the_weights(base):
    model = trainable(base)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match=r"norm of the gradients must be finite but is .* at step 1 of 5"):
        train_model(model, TWO, TWO, Recipe(Full(), 0, 0))
    assert all(torch.equal(was, now) for was, now in zip(before, model.parameters(), strict=True))


def test_every_module_is_in_training_mode_at_every_step(base, prompts, monkeypatch):
    """The base comes in the mode of evaluation, while PEFT's model around it says that it trains."""
    from raypeft.training import loop

    seen, original = [], loop.optimise_step
    method = Lora(num_train_epochs=1, eval_every_epochs=0.5)
    with method.applied(base) as model:
        base.model.eval()

        def step(*arguments):
            seen.append({each.training for each in model.modules()})
            return original(*arguments)

        monkeypatch.setattr(loop, "optimise_step", step)
        train_model(model, prompts[:32], prompts[32:36], Recipe(method, 42, base.tokenizer.pad_token_id))
    assert seen == [{True}] * 4


def running_out(monkeypatch, after, most, checkpointed=0):
    """A GPU that, after so many passes, holds those of at most `most` examples, and `checkpointed` with checkpointing.

    A pass that it does not hold has added its gradients by then. Returns what is tried.
    """
    tried, original = [], Passes.__call__

    def call(self, batch, divisor):
        loss, saves = original(self, batch, divisor), self.model.is_gradient_checkpointing
        tried.append((len(batch), saves))
        if len(tried) > after and len(batch) > (checkpointed if saves else most):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return loss

    monkeypatch.setattr(Passes, "__call__", call)
    return tried


TWICE = {"num_train_epochs": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "warmup_steps": 0}


def trained(base, prompts, **fields):
    """The steps of a full training, the training, and its weights."""
    steps, model = [], copy.deepcopy(base.model).requires_grad_(True)
    training = Training(model, prompts[:40], Recipe(Full(**TWICE | fields), 1, 0))
    training.run(prompts[40:], listener=lambda event: steps.append(event) if isinstance(event, Step) else None)
    return steps, training, [each.detach().clone() for each in model.parameters()]


@pytest.mark.parametrize(
    ("checkpointed", "fields", "used"),
    [(4, {}, (True, None)), (1, {}, (True, 1)), (0, {"gradient_checkpointing": False}, (False, 2))],
)
@pytest.mark.parametrize("weighting", ["batch", "token"])
def test_a_training_whose_memory_runs_out_in_the_middle_goes_on_with_less_to_the_same_weights(
    base, prompts, monkeypatch, checkpointed, fields, used, weighting
):
    usual, _, weights = trained(base, prompts, loss_weighting=weighting)
    tried = running_out(monkeypatch, after=5, most=2, checkpointed=checkpointed)
    steps, training, found = trained(base, prompts, loss_weighting=weighting, **fields)
    assert tried[:7] == [(4, False)] * 6 + [(min(4, used[1] or 4) if not used[0] else 4, used[0])]
    assert (training.recipe.gradient_checkpointing, training.recipe.micro_batch_size) == used
    assert [each.loss for each in steps] == pytest.approx([each.loss for each in usual], rel=1e-4)
    assert [each.step for each in steps] == [1, 2, 3, 4, 5]
    for one, other in zip(found, weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_where_memory_runs_out_graphs_are_given_up_before_the_recipe(base, prompts):
    """They hold memory beside the passes."""
    closed = []

    class Graphed(Passes):
        holds_graphs = True

        def __call__(self, batch, divisor):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        def close(self):
            closed.append(self)

    with Lora().applied(base) as model:
        training = Training(model, prompts[:40], Recipe(Lora(), 1, base.tokenizer.pad_token_id))
        before, training.passes = training.recipe, Graphed(model, training.passes.collate)
        training.step([prompts[:8]])
    assert training.recipe == before and closed and not training.passes.holds_graphs


def test_a_training_that_does_not_fit_by_one_example_ends_with_torchs_error(base, prompts, monkeypatch):
    running_out(monkeypatch, after=5, most=0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        trained(base, prompts)


def test_a_step_whose_optimiser_runs_out_of_memory_is_not_repeated(base, prompts, monkeypatch):
    """Some weights may have changed by then."""
    from raypeft.training import loop

    called = []

    def step(*arguments):
        called.append(arguments)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop, "optimise_step", step)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        trained(base, prompts)
    assert len(called) == 1
