"""What the trials of a sweep say together: how far seeds scatter, and which differences are more than chance.

    python -m raypeft.findings results/quickstart                      # every trial against the first
    python -m raypeft.findings results/rq2 --baseline lora --markdown  # against LoRA on the same model and dataset

Two questions, two tables. Over seeds: would another seed say the same? Mean, standard deviation and 95 % interval of
the mean. Against a baseline: would other test examples say the same? The difference on the same examples with its 95 %
interval, and two p-values, by permutation and by McNemar's exact test. Nothing is corrected for the number of
comparisons; with twenty of them, one below 0.05 is what chance gives.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypeft.config import METHODS, Trial, trial_columns
from raypeft.metrics.comparison import mcnemar, over_seeds, paired_bootstrap
from raypeft.report import settings
from raypeft.results import ResultStore

Row = dict[str, Any]
SEEDS = ("seed", "icl_seed")
SCORES = ("em_at_1", "em_at_10", "codebleu")
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
    values = [row[score] for row in group if row[score] is not None]
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
    """One line for each trial and cut k: the difference in EM@k to its baseline, its interval, and both p-values.

    `baseline` is a trial's id, or a method's name (then each trial is compared with that method on its own model and
    dataset); None: the first row. Trials of other datasets or other test examples than their baseline's are left out.
    Raises ValueError where no trial is meant.
    """
    chosen = [row for row in rows if baseline in (row["id"], row["tuning_method"])] if baseline else list(rows[:1])
    if not chosen:
        known = ", ".join(dict.fromkeys(row["tuning_method"] for row in rows))
        raise ValueError(f"--baseline must be the id of a finished trial or its method ({known}) but got {baseline}")
    hits = {row["id"]: hits_of(store, row["id"]) for row in rows}
    lines = []
    for row in rows:
        other = next((each for each in chosen if _comparable(row, each) and each["id"] != row["id"]), None)
        if row in chosen or other is None or hits[row["id"]].keys() != hits[other["id"]].keys():
            continue
        for k in CUTS:
            ours, theirs = (
                [_hit(hits[each["id"]][example], k) for example in hits[row["id"]]] for each in (row, other)
            )
            if None not in ours and None not in theirs:
                lines.append([_name(row, rows), _name(other, rows), f"EM@{k}", *_compared(ours, theirs)])
    return lines


def hits_of(store: ResultStore, trial_id: str) -> dict[str, list[bool]]:
    """For each test example of a trial, whether each of its ranked candidates is the reference."""
    found: dict[str, list[bool]] = defaultdict(list)
    for candidate in store.read_rows("candidates", trial_id):
        found[candidate["example_id"]].append(bool(candidate["matches"]))
    return found


def _hit(matches: Sequence[bool], k: int) -> bool | None:
    """Whether one of the first k candidates matches; None where there are fewer than k."""
    return any(matches[:k]) if len(matches) >= k else None


def _compared(ours: Sequence[Any], theirs: Sequence[Any]) -> list[str]:
    boot, exact = paired_bootstrap(ours, theirs), mcnemar(ours, theirs)
    interval = f"{100 * boot.difference:+.1f} [{100 * boot.low:+.1f}, {100 * boot.high:+.1f}]"
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


OVER_SEEDS = ("trial", "seeds", "EM@1", "EM@10", "CodeBLEU")
AGAINST = ("trial", "against", "score", "difference [95 %]", "only this : only that", "p permutation", "p McNemar")


def as_text(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]], markdown: bool) -> str | Table:
    """A table for the terminal, or GitHub's Markdown."""
    if markdown:
        rows = [list(headings), ["---"] * len(headings), *lines]
        return f"{title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title), title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place > 1 else "left")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="raypeft findings", description="How far seeds scatter, and which differences are more than chance."
    )
    parser.add_argument("results", help="the sweep's folder or URL, e.g. results/quickstart")
    parser.add_argument("--baseline", help="a trial's id or a method's name (default: the trial that started first)")
    parser.add_argument("--markdown", action="store_true", help="as Markdown tables")
    options = parser.parse_args(arguments)
    try:
        store = ResultStore.existing(options.results, trial_columns())
        rows = sorted((row for row in store.read_rows() if row["status"] == "ok"), key=lambda row: row["started_at"])
        tables = [
            ("Over seeds, scores in percent: mean ± standard deviation [95 % interval of the mean]", OVER_SEEDS,
             over_seeds_table(rows)),
            ("On the same test examples, in percentage points", AGAINST,
             against_table(rows, store, options.baseline) if rows else []),
        ]  # fmt: skip
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    console = Console()
    if not console.is_terminal:
        console.width = 160
    for title, headings, lines in tables:
        if lines:
            console.print(as_text(title, headings, lines, options.markdown), highlight=False, markup=False)
    if not any(lines for *_, lines in tables):
        print("nothing to compare: it takes two finished trials of one model and dataset, or two seeds of one trial")
    return 0


if __name__ == "__main__":
    sys.exit(main())
