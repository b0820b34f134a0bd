"""Made data on which the right verdict of a claim is known.

    evidence = two_methods(generator, gain=0.1, seeds=3, examples=500)
    judged([claim], evidence)

The score of a trial on an example is the mean of its condition, plus chance of four kinds: of the example, of the seed,
of the condition on this example (the same for all models: what is hard for a method is hard for it with each of them),
and of all of them together. So seeds and examples are both chance, as in real studies,
and the difference of two conditions over all seeds and examples is known.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from raypeft.analysis.claims.evidence import Evidence
from raypeft.analysis.claims.verdicts import judged, make_evidence, read_claim
from raypeft.study.trials import make_trial
from raypeft.trial.declarations import own_declarations

SEED_DEVIATION = 0.01
EXAMPLE_DEVIATION = 0.25
TOGETHER_DEVIATION = 0.15
NOISE = 0.15
Fields = Mapping[str, Any]
DECLARED = own_declarations()


@cache
def _trial(items: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    trial = make_trial({"model": "toy", "dataset": "toy", **dict(items)})
    return {"id": trial.id, **trial.fields, "status": "ok"}


def evidence_of(
    generator: Any, means: Sequence[tuple[Fields, float]], seeds: int, examples: int, hits: bool = False
) -> Evidence:
    """The evidence of conditions with these mean scores (codebleu, a fraction; em_at_1 where they are hits)."""
    by_example = generator.normal(0, EXAMPLE_DEVIATION, examples)
    of_method: dict[Any, Any] = {}
    name = "em_at_1" if hits else "codebleu"
    rows, values = [], {}
    for fields, mean in means:
        method = tuple(each for each in fields.items() if each[0] != "model")
        if method not in of_method:
            of_method[method] = generator.normal(0, TOGETHER_DEVIATION, examples)
        together = of_method[method]
        for seed in range(1, seeds + 1):
            chance = mean + by_example + together + generator.normal(0, SEED_DEVIATION)
            if hits:  # kept away from 0 and 1, so that no mean is cut off
                scores = (generator.random(examples) < mean + 0.15 * np.sin(4 * (chance - mean))).astype(float)
            else:
                scores = chance + generator.normal(0, NOISE, examples)
            row = _trial((*fields.items(), ("seed", seed)))
            loss = 1 - mean + generator.normal(0, SEED_DEVIATION)
            rows.append({**row, name: float(scores.mean()), f"{name}_validation": -loss, "best_eval_loss": loss,
                         "peak_memory_allocated_gb": 8.0})  # fmt: skip
            values[row["id"]] = {name: dict(enumerate(scores.tolist()))}
    return make_evidence(rows, DECLARED, lambda row: values[row["id"]])


def two_methods(generator: Any, gain: float, seeds: int = 3, examples: int = 500, hits: bool = False) -> Evidence:
    """LoRA and full fine-tuning; LoRA's mean is higher by `gain`."""
    means = [({"tuning_method": "lora"}, 0.5 + gain), ({"tuning_method": "full"}, 0.5)]
    return evidence_of(generator, means, seeds, examples, hits)


def several_models(generator: Any, gain: float) -> Evidence:
    """LoRA and full fine-tuning of six models on the same test examples; LoRA's mean is higher by `gain`."""
    models = ("toy", *(f"made/model-{number}" for number in range(1, 6)))
    means = [({"tuning_method": "lora", "model": name}, 0.5 + gain) for name in models]
    means += [({"tuning_method": "full", "model": name}, 0.5) for name in models]
    return evidence_of(generator, means, 3, 500)


def values_of_a_field(generator: Any, name: str, means: Mapping[Any, float], **more: Any) -> Evidence:
    """LoRA with several values of a field, and the mean score of each."""
    conditions = [({"tuning_method": "lora", name: value}, mean) for value, mean in means.items()]
    return evidence_of(generator, conditions, more.get("seeds", 3), more.get("examples", 500))


def costs(generator: Any, factor: float, gain: float = 0.0, deviation: float = 0.03) -> Evidence:
    """LoRA and QLoRA with 4 bits; the memory of LoRA is `factor` times as large, and QLoRA scores higher by `gain`."""
    means = [({"tuning_method": "qlora_4bit"}, 0.5 + gain), ({"tuning_method": "lora"}, 0.5)]
    made = evidence_of(generator, means, 3, 500)
    rows = [row for each in made.conditions for row in each.rows]
    for row in rows:
        size = 8.0 * (factor if row["tuning_method"] == "lora" else 1.0)
        row["peak_memory_allocated_gb"] = size * np.exp(generator.normal(0, deviation))  # type: ignore[index]
    return made


def rate_curves(
    generator: Any, optima: Mapping[int, float], seeds: int = 2, step: float = 0.5, noise: float = 0.004
) -> Evidence:
    """LoRA of several ranks over learning rates; the best rate of each rank is 10**optimum.

    The loss rises faster above the optimum than below it, as it does in practice: by 0.06 nats for the first half
    decade below, by 0.1 above. No values of single examples are stored.
    """
    rates = 10 ** np.arange(-4.5, -1.49, step)
    rows = []
    for rank, optimum in optima.items():
        for rate in rates:
            away = np.log10(rate) - optimum
            loss = 1.0 + (0.24 if away < 0 else 0.4) * away**2
            for seed in range(1, seeds + 1):
                row = _trial((("tuning_method", "lora"), ("lora_r", rank), ("learning_rate", float(rate)),
                              ("seed", seed)))  # fmt: skip
                found = loss + generator.normal(0, noise)
                rows.append({**row, "test_loss": found, "best_eval_loss": found})
    return make_evidence(rows, DECLARED, lambda row: {})


LORA, FULL = {"tuning_method": "lora"}, {"tuning_method": "full"}
BETTER = {"better": LORA, "than": FULL, "on": "codebleu"}
IN_THE_MEAN = {**BETTER, "across": "mean"}
HITS = {"better": LORA, "than": FULL, "on": "em_at_1"}
EQUAL = {"equivalent": {"lora_r": [8, 16]}, "on": "codebleu", "within": 0.1}
THREE = {**EQUAL, "equivalent": {"lora_r": [4, 8, 16]}}
GROWTH = {"stops_growing": "lora_r", "after": 8, "on": "codebleu", "within": 0.09}
RANKED = {"ranked": [LORA, FULL, {"tuning_method": "ia3"}], "on": "codebleu"}
SAVES = {"saves": "peak_memory_allocated_gb", "better": {"tuning_method": "qlora_4bit"}, "than": LORA, "factor": 2,
         "keeping": "codebleu", "within": 0.1}  # fmt: skip
OPTIMUM = {"optimum_of": "learning_rate", "independent_of": "lora_r", "on": "test_loss", "within_decades": 0.25}


def ranked(generator: Any, first: float, second: float) -> Evidence:
    """Three methods, each better than the next by so much."""
    means = [(LORA, 0.5 + first + second), (FULL, 0.5 + second), ({"tuning_method": "ia3"}, 0.5)]
    return evidence_of(generator, means, 3, 500)


CASES = (
    ("better by > 0", "true: +10 points", "supported", BETTER, lambda g: two_methods(g, 0.1)),
    ("better by > 0", "true: +3 points", "supported", BETTER, lambda g: two_methods(g, 0.03)),
    ("better by > 0", "equal", "undecided", BETTER, lambda g: two_methods(g, 0.0)),
    ("better by > 0", "false: -10 points", "refuted", BETTER, lambda g: two_methods(g, -0.1)),
    ("better by > 0, hits, 400 examples", "true: +20 points", "supported", HITS,
     lambda g: two_methods(g, 0.2, examples=400, hits=True)),
    ("better by > 0, hits, 100 examples", "equal", "undecided", HITS,
     lambda g: two_methods(g, 0.0, examples=100, hits=True)),
    ("better by > 5 points", "on the limit: +5", "undecided", {**BETTER, "by": 0.05}, lambda g: two_methods(g, 0.05)),
    ("better, 10 seeds", "equal", "undecided", BETTER, lambda g: two_methods(g, 0.0, seeds=10)),
    ("better in the mean of six models", "true: +5 points", "supported", IN_THE_MEAN, lambda g: several_models(g, 0.05)),
    ("better in the mean of six models", "equal", "undecided", IN_THE_MEAN, lambda g: several_models(g, 0.0)),
    ("better, one seed", "true: +10 points", "undecided", BETTER, lambda g: two_methods(g, 0.1, seeds=1)),
    ("equivalent within 10 points", "true: equal", "supported", EQUAL,
     lambda g: values_of_a_field(g, "lora_r", {8: 0.5, 16: 0.5})),
    ("equivalent within 10 points", "on the limit: 10", "undecided", EQUAL,
     lambda g: values_of_a_field(g, "lora_r", {8: 0.5, 16: 0.6})),
    ("equivalent within 10 points", "false: 20", "refuted", EQUAL,
     lambda g: values_of_a_field(g, "lora_r", {8: 0.5, 16: 0.7})),
    ("equivalent, three values", "on the limit: 10, twice", "undecided", THREE,
     lambda g: values_of_a_field(g, "lora_r", {4: 0.5, 8: 0.6, 16: 0.5})),
    ("ranked, three methods", "true: 10 and 10 points", "supported", RANKED, lambda g: ranked(g, 0.1, 0.1)),
    ("ranked, three methods", "the first two are equal", "undecided", RANKED, lambda g: ranked(g, 0.0, 0.1)),
    ("ranked, three methods", "false: the last two, -15 points", "refuted", RANKED, lambda g: ranked(g, 0.1, -0.15)),
    ("stops growing, within 9 points", "true: flat", "supported", GROWTH,
     lambda g: values_of_a_field(g, "lora_r", {4: 0.45, 8: 0.5, 16: 0.5, 32: 0.49})),
    ("stops growing, within 9 points", "on the limit: +9", "undecided", GROWTH,
     lambda g: values_of_a_field(g, "lora_r", {4: 0.45, 8: 0.5, 16: 0.59, 32: 0.5})),
    ("stops growing, within 9 points", "false: +22", "refuted", GROWTH,
     lambda g: values_of_a_field(g, "lora_r", {4: 0.45, 8: 0.5, 16: 0.6, 32: 0.72})),
    ("saves by 2, within 10 points", "true: 3 times, as good", "supported", SAVES, lambda g: costs(g, 3)),
    ("saves by 2, within 10 points", "on the limit: 2 times", "undecided", SAVES, lambda g: costs(g, 2)),
    ("saves by 2, within 10 points", "false: 3 times, 25 points lost", "refuted", SAVES, lambda g: costs(g, 3, -0.25)),
    ("optimum within 0.25 decades", "true: equal", "supported", OPTIMUM,
     lambda g: rate_curves(g, {8: -3.1, 32: -3.1})),
    ("optimum within 0.25 decades", "true: equal, between two rates", "supported", OPTIMUM,
     lambda g: rate_curves(g, {8: -3.25, 32: -3.2})),
    ("optimum within 0.25 decades", "on the limit", "undecided", OPTIMUM,
     lambda g: rate_curves(g, {8: -3.25, 32: -3.0})),
    ("optimum within 0.25 decades", "false: 0.6 decades", "refuted", OPTIMUM,
     lambda g: rate_curves(g, {8: -3.3, 32: -2.7})),
    ("optimum, noise of 0.03 nats", "on the limit", "undecided", OPTIMUM,
     lambda g: rate_curves(g, {8: -3.25, 32: -3.0}, noise=0.03)),
)  # fmt: skip
"""Form, truth, right verdict, claim, data."""


def shares(claim: Mapping[str, Any], make: Callable[[Any], Evidence], cases: int, seed: int) -> dict[str, float]:
    """The share of draws that end in each verdict."""
    generator = np.random.default_rng(seed)
    read = read_claim(claim)
    found = [judged([read], make(generator))[0].verdict for _ in range(cases)]
    return {name: found.count(name) / len(found) for name in ("supported", "refuted", "undecided")}
