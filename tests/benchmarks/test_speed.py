"""The benchmarks of training and decoding compare like with like, on models of the sizes that they name."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from raypeft.data import DATASETS
from raypeft.prompting.encoding import Encoder

Benchmark = Callable[[str], ModuleType]


@pytest.mark.parametrize(("name", "tied"), [("SmolLM2-135M", True), ("SmolLM2-360M", True), ("CodeLlama-7b-hf", False)])
def test_a_random_model_has_its_true_size_and_dtype_from_the_start(benchmark: Benchmark, name: str, tied: bool) -> None:
    base = benchmark("generation").random_base(name, torch.bfloat16, device="meta")
    assert base.model.config.tie_word_embeddings is tied
    assert sum(each.numel() for each in base.model.parameters()) == base.family.architecture.total_params
    assert {each.dtype for each in base.model.parameters()} == {torch.bfloat16}


def test_different_tokens_of_a_random_model_are_different_texts(benchmark: Benchmark) -> None:
    base = benchmark("generation").random_base("SmolLM2-135M", scale="small")
    texts = [base.tokenizer.decode([number]) for number in (2_000, 3_000, base.token_count - 1)]
    assert len(set(texts) - {""}) == 3


@pytest.mark.parametrize("opponent", [False, True])
def test_a_measurement_of_training_leaves_the_base_as_it_was(benchmark: Benchmark, opponent: bool) -> None:
    training = benchmark("training")
    base = benchmark("generation").random_base("SmolLM2-135M", scale="small")
    names = [name for name, _ in base.model.named_modules()]
    config = base.model.config.to_dict()
    weights = {name: each.clone() for name, each in base.model.state_dict().items()}
    prompts = [*map(Encoder(base.tokenizer).encode, DATASETS["toy"].load(None, None)["train"][:16])]
    measure = training.trainer_speeds if opponent else training.our_speeds
    whole, last = training.on_base(base, measure, prompts)
    assert whole > 0
    assert last > 0
    assert [name for name, _ in base.model.named_modules()] == names
    assert base.model.config.to_dict() == config
    assert all(torch.equal(each, weights[name]) for name, each in base.model.state_dict().items())
    assert not any(each.requires_grad for each in base.model.parameters())


def test_the_second_epoch_is_timed_by_itself(benchmark: Benchmark) -> None:
    assert benchmark("training").speeds_of(tokens=100, started=0.0, ends=[4.0, 5.0]) == (40.0, 100.0)


@pytest.mark.parametrize("name", ["generation", "training"])
def test_the_settings_of_trials_are_made_before_there_is_a_model(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module, budgets = benchmark(name), []

    def model(*_: Any, **__: Any) -> None:
        assert budgets == [float("inf")]
        raise InterruptedError("the model is wanted now")

    monkeypatch.setattr(benchmark("generation"), "take_budget", budgets.append)
    monkeypatch.setattr(module, "random_base", model)
    monkeypatch.setattr(sys, "argv", [name, "--random", "SmolLM2-135M"])
    with pytest.raises(InterruptedError):
        module.main()


def test_each_way_to_decode_is_warmed_up_before_it_is_timed(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation, calls = benchmark("generation"), []

    def decoded(base: Any, prompts: list[str], *_: Any) -> list[str]:
        calls.append(len(prompts))
        return prompts

    for way in ("batched", "one_at_a_time", "left_padded"):
        monkeypatch.setattr(generation, way, decoded)
    options = generation.make_parser().parse_args(["--rounds", "1"])
    generation.compare(None, ["a", "b", "c"], None, options)
    assert calls == [1, 1, 1, 3, 3, 3]
