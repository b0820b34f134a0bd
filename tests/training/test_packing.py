"""Packed rows: the losses and gradients of padded batches, without the padding."""

import copy

import pytest
import torch

from raypeft.data import DATASETS
from raypeft.methods import Lora, PromptTuning
from raypeft.models.loading import load_base
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example, Prompt
from raypeft.training.batches import collate
from raypeft.training.loop import train_model
from raypeft.training.losses import answer_loss
from raypeft.training.packing import ROW_TOKENS, can_pack, collate_packed, rows_of
from raypeft.training.recipe import Recipe


@pytest.fixture(scope="module")
def base():
    return load_base(str(TOY_FOLDER))


@pytest.fixture(scope="module")
def prompts(base):
    encoder = Encoder(base.tokenizer)
    return [encoder.encode(example) for example in DATASETS["toy"].load(None, None)["train"][:32]]


def made(*lengths):
    return [Prompt(Example(str(index), "a", "b"), [5] * (length - 1), [7]) for index, length in enumerate(lengths)]


def area(rows):
    return len(rows) * max(sum(map(len, row)) for row in rows)


@pytest.mark.parametrize(
    "lengths", [(40, 30, 60, 20), (300,) * 8, (300, 290, 280, 10, 5), (900, 20, 30, 450, 450), (700,)]
)
def test_every_example_stands_in_one_row_and_there_are_no_more_tokens_than_with_padding(lengths):
    rows = rows_of(made(*lengths))
    assert sorted(len(each) for row in rows for each in row) == sorted(lengths)
    assert sum(lengths) <= area(rows) <= len(lengths) * max(lengths)
    assert max(sum(map(len, row)) for row in rows) <= 4 / 3 * max(ROW_TOKENS, *lengths)


def test_a_long_example_leads_to_several_rows_and_short_ones_to_one():
    assert area(rows_of(made(900, 450, 450, 900))) == 2700
    assert len(rows_of(made(*[40] * 8))) == 1


def test_a_packed_batch_has_the_loss_and_the_gradients_of_a_padded_one(base, prompts):
    def gradients(make):
        model = copy.deepcopy(base.model).requires_grad_(True)
        loss = answer_loss(model, make(prompts, base.tokenizer.pad_token_id, "cpu"))
        loss.backward()
        return loss, [each.grad for each in model.parameters()]

    padded, packed = gradients(collate), gradients(collate_packed)
    torch.testing.assert_close(packed, padded, rtol=1e-4, atol=1e-4)


def test_a_packed_batch_has_no_more_tokens_than_a_padded_one(prompts):
    packed, padded = (make(prompts[:8], 0, "cpu")["input_ids"].numel() for make in (collate_packed, collate))
    assert sum(map(len, prompts[:8])) <= packed < padded


def test_a_model_that_lets_examples_of_a_row_see_each_other_is_not_packed(base, prompts, monkeypatch):
    assert can_pack(base.model, prompts, base.tokenizer.pad_token_id)
    forward = type(base.model).forward

    def without_positions(self, *given, position_ids=None, **named):
        return forward(self, *given, **named)

    monkeypatch.setattr(type(base.model), "forward", without_positions)
    assert not can_pack(base.model, prompts, base.tokenizer.pad_token_id)


def test_a_model_that_reads_other_positions_in_a_row_is_not_packed(base, prompts, monkeypatch):
    forward = type(base.model).forward

    def stretched(self, *given, position_ids=None, **named):
        position_ids = None if position_ids is None else position_ids * 2
        return forward(self, *given, position_ids=position_ids, **named)

    monkeypatch.setattr(type(base.model), "forward", stretched)
    assert not can_pack(base.model, prompts, base.tokenizer.pad_token_id)


def test_virtual_tokens_encoder_decoders_and_padded_prompts_are_not_packed(base, prompts, small_model):
    with PromptTuning().applied(base) as model:
        assert not can_pack(model, prompts, base.tokenizer.pad_token_id)
    other = load_base(small_model("t5"))
    assert not can_pack(other.model, prompts, 0)
    left = [Prompt(each.example, each.prompt_ids, each.answer_ids, padding=2) for each in prompts]
    assert not can_pack(base.model, left, base.tokenizer.pad_token_id)


@pytest.mark.parametrize("kind", ["llama", "codegen", "codegen2"])
def test_packing_changes_no_loss_of_a_training(kind, small_model, monkeypatch):
    """The classes that pass their positions on to Transformers' masks are packed, and train as they do padded."""
    from raypeft.training import loop

    def losses():
        base = load_base(small_model(kind))
        encoder = Encoder(base.tokenizer)
        given = [encoder.encode(each) for each in DATASETS["toy"].load(None, None)["train"][:16]]
        method = Lora(lora_dropout=0, num_train_epochs=2, eval_every_epochs=1, learning_rate=1e-3)
        torch.manual_seed(0)
        for module in base.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        with method.applied(base) as model:
            return train_model(model, given, given, Recipe(method, 1, base.tokenizer.pad_token_id))

    packed = losses()
    monkeypatch.setattr(loop, "can_pack", lambda *_: False)
    padded = losses()
    assert (packed.packed, padded.packed) == (True, False)
    assert [each.eval_loss for each in packed.evaluations] == pytest.approx(
        [each.eval_loss for each in padded.evaluations], rel=1e-5
    )
    assert packed.tokens == padded.tokens


def test_the_papers_code_is_repeated_with_padding(base, prompts):
    method = Lora(num_train_epochs=1)
    with method.applied(base) as model:
        result = train_model(model, prompts, prompts[:8], Recipe(method, 1, base.tokenizer.pad_token_id, as_paper=True))
    assert not result.packed
