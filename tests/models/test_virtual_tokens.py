"""Virtual tokens in training and in generation, and the facts about PEFT that their handling rests on."""

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model

from raypeft.data import DATASETS
from raypeft.decoding.generation import Search, generate
from raypeft.models import virtual_tokens
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder, padded_as_paper
from raypeft.records import Example, Prompt
from raypeft.training.batches import collate_for
from raypeft.training.losses import answer_loss

KINDS = ("llama", "codegen", "t5")
CONFIGS = {"prompt_tuning": PromptTuningConfig, "prefix_tuning": PrefixTuningConfig}
SEARCH = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 8}
TOKENS = 6


def with_virtual_tokens(base, name):
    """The base with random virtual tokens large enough to matter."""
    torch.manual_seed(3)
    model = get_peft_model(base.model, CONFIGS[name](task_type=base.task_type, num_virtual_tokens=TOKENS))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    return model.eval()


def texts_of_peft(model, tokenizer, prompts):
    """PEFT's own `generate`, one prompt at a time: no padding, nothing to go wrong."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt.prompt_ids])
        rows = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, **SEARCH)
        start = 1 if model.config.is_encoder_decoder else ids.shape[1]
        texts.append([tokenizer.decode(row[start:], skip_special_tokens=True) for row in rows])
    return texts


@pytest.fixture(params=[(kind, name) for kind in KINDS for name in CONFIGS], ids="-".join)
def case(request, small_model):
    kind, name = request.param
    base = load_base(small_model(kind))
    splits = DATASETS["toy"].load(None, None)
    prompts = [Encoder(base.tokenizer, base.is_encoder_decoder).encode(each) for each in splits["test"][:5]]
    return base, with_virtual_tokens(base, name), prompts


def test_a_batch_gives_the_candidates_of_pefts_own_generate_without_padding(case):
    base, model, prompts = case
    found = generate(model, base.tokenizer, prompts, Search(batch_size=5, **SEARCH))
    texts = [[each.text for each in beams] for beams in found]
    assert texts == texts_of_peft(model, base.tokenizer, prompts)


def test_the_older_search_starts_from_the_same_virtual_tokens_and_depends_on_no_batch(case):
    base, model, prompts = case
    alone, together = (
        generate(model, base.tokenizer, prompts, Search(batch_size=size, older="4.44", **SEARCH)) for size in (1, 5)
    )
    assert together == alone
    newer = generate(model, base.tokenizer, prompts, Search(batch_size=5, **SEARCH))
    assert [beams[0].text for beams in together] == [beams[0].text for beams in newer]


def test_a_batchs_loss_is_the_sum_of_its_prompts_losses(case):
    base, model, prompts = case
    pad = base.tokenizer.pad_token_id
    together = answer_loss(model, collate_for(model, prompts, pad))
    alone = sum(answer_loss(model, collate_for(model, [prompt], pad)) for prompt in prompts)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_the_loss_is_that_of_peft_with_labels(case):
    base, model, prompts = case
    batch = collate_for(model, prompts[:1], base.tokenizer.pad_token_id)
    loss = answer_loss(model, batch) / len(prompts[0].answer_ids)
    labels = {name: value for name, value in batch.items() if name != "decoder_input_ids"}
    torch.testing.assert_close(loss, model(**labels).loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_between_virtual_tokens_and_prompt_moves_the_logits_unless_positions_are_counted(name, small_model):
    # Why generation goes through the cache: this is what PEFT makes of a batch that is padded on the left.
    base = load_base(small_model("llama"))
    model = with_virtual_tokens(base, name)
    ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.long)
    exact = model(input_ids=ids, attention_mask=mask).logits[:, -1]
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], dim=1)
    padded_mask = torch.cat([torch.zeros(1, 5, dtype=torch.long), mask], dim=1)
    moved = model(input_ids=padded, attention_mask=padded_mask).logits[:, -1]
    assert (moved - exact).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["llama", "codegen"])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_papers_left_padding_gives_the_loss_of_pefts_own_model_on_a_batch_padded_to_its_length(
    kind, name, small_model
):
    base = load_base(small_model(kind))
    model, pad = with_virtual_tokens(base, name), base.tokenizer.pad_token_id
    prompts = [Prompt(Example(str(n), "a", "b"), [5] * n, [7, 8, 9]) for n in (3, 12)]
    padded = [padded_as_paper(each, 64) for each in prompts]
    ids = torch.tensor([[*[pad] * (125 - len(p.prompt_ids)), *p.prompt_ids, *p.answer_ids] for p in prompts])
    labels = torch.where(torch.arange(128) < 125, -100, ids)
    mask = torch.tensor([[0] * (128 - len(each)) + [1] * len(each) for each in prompts])
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(answer_loss(model, collate_for(model, padded, pad)) / 6, theirs, rtol=1e-5, atol=1e-5)
    plain = answer_loss(model, collate_for(model, prompts, pad)) / 6
    assert (plain - theirs).abs() > 1e-3


@pytest.mark.parametrize("kind", ["llama", "codegen"])
def test_without_virtual_tokens_the_papers_left_padding_changes_no_loss(kind, small_model):
    base = load_base(small_model(kind))
    prompts = [Prompt(Example(str(n), "a", "b"), [5] * n, [7, 8, 9]) for n in (3, 12)]
    plain, padded = (
        answer_loss(base.model, collate_for(base.model, each, base.tokenizer.pad_token_id))
        for each in (prompts, [padded_as_paper(prompt, 64) for prompt in prompts])
    )
    torch.testing.assert_close(plain, padded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_takes_prefix_tunings_keys_away(kind, small_model):
    # Why the method refuses it.
    base = load_base(small_model(kind))
    model = with_virtual_tokens(base, "prefix_tuning").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    prompt = Prompt(Example("0", "a", "b"), [5, 6, 7], [8, 9])
    with pytest.raises(RuntimeError, match="must match the size"):
        answer_loss(model, collate_for(model, [prompt], base.tokenizer.pad_token_id))


def test_models_without_virtual_tokens_have_none(small_model):
    model = load_base(small_model("llama")).model
    assert (virtual_tokens.count(model), virtual_tokens.in_logits(model), virtual_tokens.needs_cache(model)) == (
        0,
        0,
        False,
    )
