"""The loss of each example, whatever the batch that the memory allows."""

import pytest
import torch

from raypeft.training import losses
from raypeft.training.losses import evaluate, example_losses


def running_out(monkeypatch: pytest.MonkeyPatch, above: int) -> list[int]:
    """A GPU whose memory runs out in batches of more examples; returns the sizes that are tried."""
    tried, own = [], losses._losses

    def _losses(model, batch, pad_token_id):
        tried.append(len(batch))
        if tried[-1] > above:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return own(model, batch, pad_token_id)

    monkeypatch.setattr(losses, "_losses", _losses)
    return tried


def test_an_evaluation_that_does_not_fit_is_halved_and_loses_no_example(base, prompts, monkeypatch):
    usual = example_losses(base.model, 0, prompts[:7], 4)
    tried = running_out(monkeypatch, above=2)
    found = example_losses(base.model, 0, prompts[:7], 4)
    assert tried == [4, 2, 2, 2, 1]
    assert [tokens for _, tokens in found] == [tokens for _, tokens in usual]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in usual], rel=1e-4)


def test_one_example_that_does_not_fit_ends_the_evaluation(base, prompts, monkeypatch):
    running_out(monkeypatch, above=0)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        example_losses(base.model, 0, prompts[:2], 2)


def test_a_validation_that_does_not_fit_is_halved_and_its_loss_is_the_same(base, prompts, monkeypatch):
    usual, own, tried = evaluate(base.model, 0, prompts[:7], 4), losses.answer_loss, []

    def answer_loss(model, batch):
        tried.append(len(batch["labels"]))
        if tried[-1] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return own(model, batch)

    monkeypatch.setattr(losses, "answer_loss", answer_loss)
    assert evaluate(base.model, 0, prompts[:7], 4) == pytest.approx(usual, rel=1e-5)
    assert tried == [4, 2, 2, 2, 1]
