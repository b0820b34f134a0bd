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
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from raypeft.analysis.settings import labels
from raypeft.metrics.metric import Answers, Score, Values
from raypeft.metrics.scoring import values_by_example
from raypeft.results.declarations import Declarations
from raypeft.results.store import ResultStore

Row = Mapping[str, Any]
SEEDS = ("seed", "icl_seed")
AGAINST = ("trial", "against", "score", "difference [95 %]", "only this : only that", "p permutation", "p McNemar")


def over_seeds_table(rows: Sequence[Row], declared: Declarations) -> tuple[list[str], list[list[str]]]:
    """The headings, and one line for each trial that ran with several seeds: its name, the seeds, and
    `mean ± deviation [low, high]` of each score.
    """
    scores = [score for score in declared.scores if score.over_seeds]
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_fields_but_seeds(row, declared)].append(row)
    names = _names(rows, declared)
    lines = [
        [names[group[0]["id"]], str(len(group)), *(_scatter(group, score) for score in scores)]
        for group in groups.values()
        if len(group) > 1
    ]
    return ["trial", "seeds", *(score.title for score in scores)], lines


def _scatter(group: Sequence[Row], score: Score) -> str:
    from raypeft.metrics.comparison import over_seeds

    values = [row[score.name] for row in group if row.get(score.name) is not None]
    if len(values) < 2:
        return ""
    seeds, scale = over_seeds(values), score.scale
    assert seeds.standard_deviation is not None and seeds.low is not None and seeds.high is not None
    return (f"{scale * seeds.mean:.1f} ± {scale * seeds.standard_deviation:.1f} "
            f"[{scale * seeds.low:.1f}, {scale * seeds.high:.1f}]")  # fmt: skip


def _fields_but_seeds(row: Row, declared: Declarations) -> tuple[str, ...]:
    names = {*declared.method(row["tuning_method"]).fields, "tuning_method"}
    return tuple(f"{name}={row[name]}" for name in sorted(names) if name in row and name not in SEEDS)


def against_table(
    rows: Sequence[Row], store: ResultStore, baseline: str | None, declared: Declarations
) -> list[list[str]]:
    """One line for each trial and score: the difference to its baseline, its interval, and both p-values.

    The scores are those that have a value for each example. `baseline` is a trial's id, or a method's name (then each
    trial is compared with that method on its own model and dataset); None: the first row. Trials of other datasets or
    other test examples than their baseline's are left out. Raises ValueError where no trial is meant.
    """
    chosen = [row for row in rows if baseline in (row["id"], row["tuning_method"])] if baseline else list(rows[:1])
    if not chosen:
        known = ", ".join(dict.fromkeys(row["tuning_method"] for row in rows))
        raise ValueError(f"--baseline must be the id of a finished trial or its method ({known}) but got {baseline}")
    values = {row["id"]: values_of(store, row, declared) for row in rows}
    names = _names(rows, declared)
    lines = []
    for row in rows:
        other = next((each for each in chosen if _comparable(row, each) and each["id"] != row["id"]), None)
        if row in chosen or other is None:
            continue
        ours, theirs = values[row["id"]], values[other["id"]]
        for score in declared.scores:
            mine, yours = ours.get(score.name), theirs.get(score.name)
            if mine and yours and mine.keys() == yours.keys():
                lines.append([names[row["id"]], names[other["id"]], score.title, *_compared(score, ours, theirs)])
    return lines


def values_of(store: ResultStore, row: Row, declared: Declarations) -> Values:
    """What a trial can be compared by: its stored values of each example, or, where there are none, made from its
    candidates and tests.
    """
    values: Values = {}
    for each in store.read_rows("example_scores", row["id"]):
        values.setdefault(each["score"], {})[each["example_id"]] = each["value"]
    if values:
        return values
    dataset = declared.dataset(row["dataset"])
    answers = Answers.from_rows(
        store.read_rows("candidates", row["id"]), store.read_rows("tests", row["id"]), dataset.levels
    )
    return values_by_example(answers, dataset.judged_by)


def _compared(score: Score, ours: Values, theirs: Values) -> list[str]:
    from raypeft.metrics.comparison import mcnemar, paired_bootstrap

    examples, scale = list(ours[score.name]), score.scale
    a, b = ([values[score.name][each] for each in examples] for values in (ours, theirs))
    boot = paired_bootstrap(a, b)
    interval = f"{scale * boot.difference:+.1f} [{scale * boot.low:+.1f}, {scale * boot.high:+.1f}]"
    if score.hits is None or not (score.hits in ours and score.hits in theirs):
        return [interval, "", _p(boot.p_value), ""]
    hit_a, hit_b = ([bool(values[score.hits][each]) for each in examples] for values in (ours, theirs))
    exact = mcnemar(hit_a, hit_b)
    return [interval, f"{exact.only_a} : {exact.only_b}", _p(boot.p_value), _p(exact.p_value)]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _comparable(row: Row, other: Row) -> bool:
    return bool(row["model"] == other["model"] and row["dataset"] == other["dataset"])


def _names(rows: Sequence[Row], declared: Declarations) -> dict[str, str]:
    """Trial id -> what a table calls the trial."""
    return dict(zip((row["id"] for row in rows), labels(rows, declared), strict=True))


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
