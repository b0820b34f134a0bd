"""Passes as CUDA graphs: the numbers of the passes without them."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from raypeft.methods import METHODS, Lora
from raypeft.models.loading import load_base
from raypeft.training import graphs
from raypeft.training.graphs import MULTIPLE, GraphedPasses, fixed_inputs, records
from raypeft.training.loop import Training, train_model
from raypeft.training.losses import answer_loss
from raypeft.training.packing import collate_packed
from raypeft.training.recipe import Recipe


def test_a_pass_of_fixed_shapes_adds_the_gradients_of_the_usual_pass(base, prompts):
    usual, fixed = (copy.deepcopy(base.model).to("cpu").requires_grad_(True) for _ in range(2))
    loss = answer_loss(usual, collate_packed(prompts[:8], base.tokenizer.pad_token_id, "cpu")) / 7
    loss.backward()
    found = GraphedPasses(fixed, base.tokenizer.pad_token_id)(prompts[:8], 7.0)
    assert found.item() == pytest.approx(loss.item(), rel=1e-6)
    for one, other in zip(usual.parameters(), fixed.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_batches_of_many_lengths_have_few_shapes(base, prompts):
    collate = GraphedPasses(base.model, 0).collate
    made = [fixed_inputs(collate(prompts[start : start + 8]), 1.0) for start in range(0, 64, 4)]
    shapes = {(each["input_ids"].shape, each["positions"].shape) for each in made}
    exact = {collate_packed(prompts[start : start + 8], 0, "cpu")["input_ids"].shape for start in range(0, 64, 4)}
    assert len(shapes) < len(exact)
    assert all(each["input_ids"].shape[1] % MULTIPLE == len(each["positions"]) % MULTIPLE == 0 for each in made)


@pytest.mark.parametrize("wanted", [True, False])
def test_nothing_is_recorded_without_a_gpu(base, wanted):
    assert records(copy.deepcopy(base.model).to("cpu"), wanted, checkpointing=False) is False


def without_recording(patch):
    """The same shapes, one operation after the other."""
    patch.setattr(GraphedPasses, "_record", lambda *_: "it is not wanted")


def trained_weights(model):
    return [each for each in model.parameters() if each.requires_grad]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["lora", "ia3", "full"])
def test_a_training_with_graphs_has_the_losses_of_one_without_them(prompts, name, monkeypatch):
    method, found = METHODS[name](num_train_epochs=3), {}
    for records_any in (True, False):
        if not records_any:
            without_recording(monkeypatch)
        fresh = load_base("toy")
        torch.manual_seed(3)  # an adapter begins with random numbers
        with method.applied(fresh) as model:
            recipe = Recipe(method, 42, fresh.tokenizer.pad_token_id, graphs=True)
            result = train_model(model, prompts, prompts[:16], recipe)
            found[records_any] = [each.eval_loss for each in result.evaluations]
            assert result.graphed == records_any
            assert all(each.grad is None for each in model.parameters())
    assert found[True] == pytest.approx(found[False], rel=2e-3)
    assert found[True][-1] < found[True][0]


@pytest.mark.gpu
def test_a_graph_adds_the_gradients_of_its_batch_with_the_dropout_of_the_pass_without_it(prompts, monkeypatch):
    base, found = load_base("toy"), {}
    with Lora(lora_dropout=0.5).applied(base) as model:
        model.train()
        for weight in trained_weights(model):  # an adapter that has not been trained changes nothing
            torch.nn.init.normal_(weight, std=0.3)
        for records_any in (True, False):
            if not records_any:
                without_recording(monkeypatch)
            passes = GraphedPasses(model, base.tokenizer.pad_token_id)
            for _ in range(2):  # the second one records
                passes(prompts[:8], 1.0)
            for weight in trained_weights(model):
                weight.grad.zero_()
            torch.manual_seed(7)
            losses = [passes(prompts[:8], 1.0).item(), passes(prompts[:8], 2.0).item()]
            assert losses[0] != pytest.approx(2 * losses[1], rel=1e-4)  # another dropout
            found[records_any] = losses, [weight.grad.clone() for weight in trained_weights(model)]
            assert (passes.graphed > 0) == records_any
            passes.close()
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-3)
    for one, other in zip(found[True][1], found[False][1], strict=True):
        torch.testing.assert_close(one, other, rtol=5e-2, atol=1e-2 * float(other.abs().max()))


@pytest.mark.gpu
def test_a_model_that_cannot_be_recorded_trains_without_graphs_and_leaves_the_process_whole(prompts, monkeypatch):
    base, original, usual = load_base("toy"), graphs.loss_of, torch.cuda.current_stream()

    def asking(model, inputs):
        loss = original(model, inputs)
        assert math.isfinite(loss.item())  # which no recording allows
        return loss

    monkeypatch.setattr(graphs, "loss_of", asking)
    method = Lora(num_train_epochs=2)
    with method.applied(base) as model:
        training = Training(model, prompts, Recipe(method, 42, base.tokenizer.pad_token_id, graphs=True))
        result = training.run(prompts[:16])
    assert result.graphed is False
    assert result.evaluations[-1].eval_loss < result.evaluations[0].eval_loss
    assert torch.rand(2, device="cuda").shape == (2,)  # random numbers and memory are in order
    torch.cuda.empty_cache()
    assert torch.cuda.current_stream() == usual


@pytest.mark.gpu
def test_little_free_memory_records_nothing(prompts, monkeypatch):
    base, method = load_base("toy"), Lora(num_train_epochs=2)
    monkeypatch.setattr(graphs, "budget_gb", lambda: 0.01)
    with method.applied(base) as model:
        recipe = replace(Recipe(method, 42, base.tokenizer.pad_token_id), graphs=True)
        assert train_model(model, prompts, prompts[:16], recipe).graphed is False
