"""The mean of differences over blocks: what blocks share, such as their test examples, does not get lost in it."""

import numpy as np
import pytest

from benchmarks.made_claims import DECLARED, FULL, LORA
from raypeft.analysis.claims.contrast import contrast, mean_contrast
from raypeft.analysis.claims.evidence import blocks, fitting
from raypeft.analysis.claims.verdicts import make_evidence
from raypeft.study.trials import make_trial

CODEBLEU = DECLARED.score("codebleu", "test")
UNTUNED, RAG = {"tuning_method": "zero_shot"}, {"tuning_method": "rag", "num_shots": 4}
EXAMPLES = 600


def compared(sides, points, values):
    """The difference of both sides in each block, and the mean of them. `values` gives those of a row's examples."""
    trials = [make_trial({"model": "toy", "dataset": "toy", **each}) for each in points]
    scored = {trial.id: values(trial) for trial in trials}
    rows = [{"id": trial.id, **trial.fields, "codebleu": float(np.mean(scored[trial.id]))} for trial in trials]
    evidence = make_evidence(rows, DECLARED, lambda row: {"codebleu": dict(enumerate(scored[row["id"]]))})
    found = [contrast(*(fitting(block.conditions, side)[0] for side in sides), CODEBLEU, evidence)
             for block in blocks(evidence, {}, sides)]  # fmt: skip
    return found, mean_contrast(found)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (3, 4, 5, 6)], ids=["paired", "other seeds"])
def test_the_mean_over_one_block_is_that_block(seeds) -> None:
    generator = np.random.default_rng(1)
    points = [*({**LORA, "seed": seed} for seed in (1, 2, 3)), *({**FULL, "seed": seed} for seed in seeds)]

    def values(trial):
        return generator.normal(0, 0.2) + generator.normal(0, 0.5, EXAMPLES)

    (one,), mean = compared((LORA, FULL), points, values)
    assert (mean.difference, mean.error, mean.degrees) == pytest.approx((one.difference, one.error, one.degrees))
    assert mean.spread.detectable == pytest.approx(one.spread.detectable, rel=0.01)


@pytest.mark.parametrize("shared", [True, False])
def test_examples_that_several_models_answer_alike_are_counted_once(shared) -> None:
    """No seed is chance here, so that the examples are all there is."""
    generator = np.random.default_rng(1)
    common = generator.normal(0, 0.2, EXAMPLES)
    points = [{"model": f"made/{number}", **fields} for number in range(4) for fields in (RAG, UNTUNED)]

    def values(trial):
        gains = common if shared else generator.normal(0, 0.2, EXAMPLES)
        return gains if trial.tuning_method == "rag" else 0 * gains

    found, mean = compared((RAG, UNTUNED), points, values)
    one = np.mean([each.error**2 for each in found]) ** 0.5
    assert len(found) == 4 and mean.examples == EXAMPLES
    assert mean.error == pytest.approx(one if shared else one / 2, rel=0.2)


@pytest.mark.parametrize(("name", "values", "is_shared"), [
    ("num_beams", (10, 12), True), ("model", ("toy", "made/1"), False),
])  # fmt: skip
def test_a_training_is_one_chance_wherever_it_is_decoded_and_another_one_with_another_model(
    name, values, is_shared
) -> None:
    by_seed = {1: 0.1, 2: 0.4, 3: 0.5}
    points = [{**LORA, name: value, "seed": seed} for value in values for seed in by_seed]
    points += [{**UNTUNED, name: value} for value in values]
    found, mean = compared((LORA, UNTUNED), points, lambda trial: np.full(
        EXAMPLES, by_seed[trial.seed] if trial.tuning_method == "lora" else 0.0))  # fmt: skip
    (one, _), (other, _) = (each.parts.by_seeds for each in found)
    assert one == pytest.approx(other) == pytest.approx(np.var([*by_seed.values()], ddof=1) / 3)
    assert mean.parts.by_seeds == pytest.approx((one, 2) if is_shared else (one / 2, 4))


def test_random_shots_are_one_chance_for_all_models_that_are_asked_with_them() -> None:
    icl, by_seed = {"tuning_method": "icl", "num_shots": 4}, {1: 0.1, 2: 0.4, 3: 0.5}
    models = ("toy", "made/1")
    points = [{**icl, "model": model, "icl_seed": seed} for model in models for seed in by_seed]
    points += [{**UNTUNED, "model": model} for model in models]
    found, mean = compared((icl, UNTUNED), points, lambda trial: np.full(
        EXAMPLES, by_seed[trial.fields["icl_seed"]] if trial.tuning_method == "icl" else 0.0))  # fmt: skip
    assert mean.parts.by_seeds == pytest.approx(found[0].parts.by_seeds)
