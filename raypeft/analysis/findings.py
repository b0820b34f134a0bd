"""What the trials of a sweep say together: how far seeds scatter, and which differences are more than chance.

    raypeft findings results/quickstart                      # every trial against the first
    raypeft findings results/rq2 --baseline lora --markdown  # against LoRA on the same model and dataset

Two questions, two tables. Over seeds: would another seed say the same? Mean, standard deviation and 95 % interval of
the mean. Against a baseline: would other test examples say the same? The difference on the same examples with its 95 %
interval, and two p-values, by permutation and, of hits and misses, by McNemar's exact test (for pass@1: of each
problem's first candidate). Nothing is corrected for the number of comparisons; with twenty of them, one below 0.05 is
what chance gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from raypeft.analysis.report import settings
from raypeft.data import DATASETS
from raypeft.metrics.comparison import mcnemar, over_seeds, paired_bootstrap
from raypeft.metrics.scores import values_of_tests
from raypeft.results.store import ResultStore
from raypeft.study.config import METHODS, Trial

Row = dict[str, Any]
SEEDS = ("seed", "icl_seed")
SCORES = {
    "em_at_1": "EM@1",
    "em_at_10": "EM@10",
    "codebleu": "CodeBLEU",
    "pass_at_1": "pass@1",
    "avg_tests_passed": "tests passed",
}
CUTS = (1, 10)


def over_seeds_table(rows: Sequence[Row]) -> list[list[str]]:
    """One line for each trial that ran with several seeds: its name, the seeds, and `mean ± deviation [low, high]`."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_fields_but_seeds(row)].append(row)
    lines = []
    for group in groups.values():
        if len(group) > 1:
            lines.append([_name(group[0], rows), str(len(group)), *(_scatter(group, score) for score in SCORES)])
    return lines


def _scatter(group: Sequence[Row], score: str) -> str:
    values = [row[score] for row in group if row.get(score) is not None]
    if len(values) < 2:
        return ""
    seeds = over_seeds(values)
    assert seeds.standard_deviation is not None and seeds.low is not None and seeds.high is not None
    return (f"{100 * seeds.mean:.1f} ± {100 * seeds.standard_deviation:.1f} "
            f"[{100 * seeds.low:.1f}, {100 * seeds.high:.1f}]")  # fmt: skip


def _fields_but_seeds(row: Row) -> tuple[str, ...]:
    names = [*Trial.model_fields, *METHODS[row["tuning_method"]].model_fields, "tuning_method"]
    return tuple(f"{name}={row[name]}" for name in sorted(set(names)) if name in row and name not in SEEDS)


def against_table(rows: Sequence[Row], store: ResultStore, baseline: str | None) -> list[list[str]]:
    """One line for each trial and score: the difference to its baseline, its interval, and both p-values.

    The scores are EM@1 and EM@10 or, for a dataset with tests, pass@1 and the share of tests passed. `baseline` is a
    trial's id, or a method's name (then each trial is compared with that method on its own model and dataset); None:
    the first row. Trials of other datasets or other test examples than their baseline's are left out. Raises ValueError
    where no trial is meant.
    """
    chosen = [row for row in rows if baseline in (row["id"], row["tuning_method"])] if baseline else list(rows[:1])
    if not chosen:
        known = ", ".join(dict.fromkeys(row["tuning_method"] for row in rows))
        raise ValueError(f"--baseline must be the id of a finished trial or its method ({known}) but got {baseline}")
    scores = {row["id"]: scores_of(store, row) for row in rows}
    lines = []
    for row in rows:
        other = next((each for each in chosen if _comparable(row, each) and each["id"] != row["id"]), None)
        if row in chosen or other is None:
            continue
        for name, ours in scores[row["id"]].items():
            theirs = scores[other["id"]].get(name)
            if theirs is not None and ours.values.keys() == theirs.values.keys():
                lines.append([_name(row, rows), _name(other, rows), name, *_compared(ours, theirs)])
    return lines


@dataclass(frozen=True, slots=True)
class Scores:
    """One score of a trial, by test example."""

    values: dict[str, float]
    hits: dict[str, bool] | None
    """Hit or miss, for McNemar's test; None where the score is neither."""


def scores_of(store: ResultStore, row: Row) -> dict[str, Scores]:
    """The scores of a trial that two trials can be compared by."""
    if DATASETS[row["dataset"]].is_tested:
        tests = store.read_rows("tests", row["id"])
        values = values_of_tests(tests, "passed") if tests else {}
        first = {each["example_id"]: True for each in tests}
        for test in tests:
            first[test["example_id"]] &= test["passed"] or test["rank"] > 0
        found = {"pass@1": Scores(values["strict_accuracy"], first)} if values else {}
        if values and not any(test["outcome"] == "not_run" for test in tests):
            found["tests passed"] = Scores(values["avg_tests_passed"], None)
        return found
    matches = hits_of(store, row["id"])
    found = {}
    for k in CUTS:
        hits = {example: any(ranked[:k]) for example, ranked in matches.items() if len(ranked) >= k}
        if hits and len(hits) == len(matches):
            found[f"EM@{k}"] = Scores({example: float(hit) for example, hit in hits.items()}, hits)
    return found


def hits_of(store: ResultStore, trial_id: str) -> dict[str, list[bool]]:
    """For each test example of a trial, whether each of its ranked candidates is the reference."""
    found: dict[str, list[bool]] = defaultdict(list)
    for candidate in store.read_rows("candidates", trial_id):
        found[candidate["example_id"]].append(bool(candidate["matches"]))
    return found


def _compared(ours: Scores, theirs: Scores) -> list[str]:
    examples = list(ours.values)
    boot = paired_bootstrap([ours.values[each] for each in examples], [theirs.values[each] for each in examples])
    interval = f"{100 * boot.difference:+.1f} [{100 * boot.low:+.1f}, {100 * boot.high:+.1f}]"
    if ours.hits is None or theirs.hits is None:
        return [interval, "", _p(boot.p_value), ""]
    exact = mcnemar([ours.hits[each] for each in examples], [theirs.hits[each] for each in examples])
    return [interval, f"{exact.only_a} : {exact.only_b}", _p(boot.p_value), _p(exact.p_value)]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _comparable(row: Row, other: Row) -> bool:
    return bool(row["model"] == other["model"] and row["dataset"] == other["dataset"])


def _name(row: Row, rows: Sequence[Row]) -> str:
    shared = [name for name in ("model", "dataset") if len({each[name] for each in rows}) > 1]
    return " ".join(
        part for part in (*(row[name] for name in shared), row["tuning_method"], settings(row, rows)) if part
    )


OVER_SEEDS = ("trial", "seeds", *SCORES.values())
AGAINST = ("trial", "against", "score", "difference [95 %]", "only this : only that", "p permutation", "p McNemar")


def as_text(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]], markdown: bool) -> str | Table:
    """A table for the terminal, or GitHub's Markdown; columns in which no line says anything are left out."""
    said = [any(line[place] for line in lines) for place in range(len(headings))]
    headings, lines = list(compress(headings, said)), [list(compress(line, said)) for line in lines]
    if markdown:
        rows = [list(headings), ["---"] * len(headings), *lines]
        return f"{title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title), title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place > 1 else "left")
    for line in lines:
        table.add_row(*map(Text, line))
    return table
