"""The table at the end of a sweep: scores in percent, one line a trial. `printed` has that of a report.

print_summary(store.read_rows(), declared=manifest.declarations)
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from math import inf
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypeft.analysis.report.order import known_scores, shown_scores
from raypeft.analysis.settings import data_of, split_settings
from raypeft.analysis.warnings import warnings
from raypeft.metrics.metric import WIDE, Score
from raypeft.metrics.scoring import declared_scores
from raypeft.results.declarations import Declarations
from raypeft.trial.declarations import own_declarations
from raypeft.trial.provenance import git_state

Row = Mapping[str, Any]
MOST_LINES = 100
"""Rows of a table on a terminal. More are shown by Markdown and by the page."""
SHOWS_ALL = "raypeft report RESULTS --all shows all"


@dataclass(frozen=True, slots=True)
class Heading:
    """One column of the printed table: its title, and its text for a row (empty where there is nothing to say)."""

    title: str
    text: Callable[[Row], str]
    numeric: bool = True
    width: int = 0
    """Columns that a terminal must have to show it."""
    note: str = ""
    """What the table's title says of it."""


def value(score: Score, reading: str = "") -> Callable[[Row], str]:
    """A score as people read it: a fraction in percent."""
    name = f"{score.name}_{reading}" if reading else score.name
    return lambda row: f"{score.scale * row[name]:.1f}" if row.get(name) is not None else ""


def with_interval(score: Score) -> Callable[[Row], str]:
    plain, low, high = value(score), value(score, "low"), value(score, "high")
    return lambda row: f"{plain(row)} [{low(row)}, {high(row)}]" if low(row) and high(row) else plain(row)


def number(name: str, form: str) -> Callable[[Row], str]:
    return lambda row: format(row[name], form) if row.get(name) is not None else ""


def millions(name: str) -> Callable[[Row], str]:
    """A count of parameters as the papers write it: 2.07M, 0.07M."""
    return lambda row: f"{row[name] / 1e6:.3g}M" if row.get(name) else ""


PAPER = "columns named paper: our answers, counted as the paper's code counted"

SHARED = [
    Heading("model", lambda row: row["model"], numeric=False),
    Heading("dataset", data_of, numeric=False),
    Heading("test examples", number("test_examples", "d")),
]
"""Columns that move to the table's title where all rows agree."""
BEFORE_SCORES = [
    Heading("sweep", lambda row: row.get("folder", ""), numeric=False),
    Heading("method", lambda row: row["tuning_method"], numeric=False),
    Heading("settings", lambda row: row["settings"], numeric=False),
    Heading("status", lambda row: row["outcome"], numeric=False),
]
AFTER_SCORES = [
    Heading("params", millions("trainable_params")),
    Heading("loss", number("best_eval_loss", ".3f"), width=WIDE),
    Heading("test loss", number("test_loss", ".3f"), width=WIDE),
    Heading("GiB", number("peak_memory_allocated_gb", ".2f")),
    Heading("seconds", number("total_seconds", ".0f")),
]


def score_headings(scores: Sequence[Score]) -> Iterator[Heading]:
    """The headings of the scores that the table shows, in the order in which they are declared."""
    for score in scores:
        title = score.title if score.unit == "fraction" else f"{score.title} ({score.unit})"
        told = [score.note] if score.note else []
        if not score.higher_is_better:
            told.append(f"{score.title}: lower is better")
        note = ", ".join(told)
        if score.width is not None and score.with_interval:
            yield Heading(f"{title} [95 %]", with_interval(score), width=score.width, note=note)
        elif score.width is not None:
            yield Heading(title, value(score), width=score.width, note=note)
        if score.paper_width is not None:
            yield Heading(f"{title} paper", value(score, "paper"), width=score.paper_width)


def summary_table(
    rows: Sequence[Row], declared: Declarations | None = None
) -> tuple[str, list[Heading], list[list[str]]]:
    """The title (what all rows share), the headings that have something to say about them, and each row's texts.

    `declared` are the declarations of the folder that holds the rows; None: this version's.
    """
    declared = declared or own_declarations()
    alike, apart = split_settings(rows, declared)
    outcomes = ["" if declared.status(row["status"]).is_scored else row["status"] for row in rows]
    told = [{**row, "settings": text, "outcome": outcome}
            for row, text, outcome in zip(rows, apart, outcomes, strict=True)]  # fmt: skip
    headings = (*SHARED, *BEFORE_SCORES, *score_headings(declared.scores), *AFTER_SCORES)
    columns = [(heading, [heading.text(row) for row in told]) for heading in headings]
    # A trial without a score has no number of test examples.
    common = {heading.title: text for heading, texts in columns if heading in SHARED and len(set(texts) - {""}) == 1
              for text in set(texts) - {""}}  # fmt: skip
    kept = [(heading, texts) for heading, texts in columns if any(texts) and heading.title not in common]
    title = ", ".join([*(f"{name} {text}" for name, text in common.items()), *alike, "scores in percent"])
    notes = dict.fromkeys(heading.note for heading, _ in kept if heading.note)
    return (
        "; ".join([title, *([", ".join(notes)] if notes else [])]),
        [heading for heading, _ in kept],
        [list(line) for line in zip(*(texts for _, texts in kept), strict=True)],
    )


def by_scores(rows: Sequence[Row], declared: Declarations) -> list[list[Row]]:
    """The rows whose scores are of one kind together, since a table of both would be half empty; the best first."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(declared.tested(row).judged_by, []).append(row)
    return [best_first(group, declared) for group in groups.values()]


def shortened(rows: Sequence[Row], declared: Declarations, most: int | None = MOST_LINES) -> tuple[Sequence[Row], str]:
    """The rows that a terminal shows, and what the title says of the others: of thousands, the best ones."""
    if most is None or len(rows) <= most:
        return rows, ""
    score = ranked_by(rows, declared)
    told = f"best {most} of {len(rows):,} rows by {score.title}" if score else f"first {most} of {len(rows):,} rows"
    return rows[:most], f"; the {told} ({SHOWS_ALL})"


def ranked_by(rows: Sequence[Row], declared: Declarations) -> Score | None:
    """The score by which a report orders them as well."""
    return next(iter(shown_scores(known_scores(rows, declared))), None)


def best_first(rows: Sequence[Row], declared: Declarations) -> list[Row]:
    """The rows by `ranked_by`; those without it come last, by their validation loss."""
    if (score := ranked_by(rows, declared)) is None:
        return list(rows)
    name, sign = score.name, -1 if score.higher_is_better else 1

    def place(row: Row) -> tuple[bool, float, float]:
        loss = row.get("best_eval_loss")
        return row.get(name) is None, sign * (row.get(name) or 0.0), inf if loss is None else loss

    return sorted(rows, key=place)


def print_summary(
    rows: Sequence[Row],
    console: Console | None = None,
    declared: Declarations | None = None,
    most: int | None = MOST_LINES,
) -> None:
    """The table of a sweep's rows, then what failed and what was made by other code. `declared` as `summary_table`.

    Of more rows than `most` the best are shown; None: all.
    """
    declared = declared or own_declarations()
    console = console or Console()
    if not console.is_terminal:
        # Outside a terminal there is no width to keep to, and a folded table is no use to anyone.
        console.width = 160
    for group in by_scores(rows, declared):
        shown, left_out = shortened(group, declared, most)
        title, headings, lines = summary_table(shown, declared)
        console.print(Text(f"{title}{left_out}"), soft_wrap=True)
        console.print(_table(headings, lines, console.width))
        if any(heading.title.endswith(" paper") and console.width >= heading.width for heading in headings):
            console.print(Text(PAPER), soft_wrap=True)
    for warning in warnings([row for row in rows if declared.status(row["status"]).is_scored]):
        console.print(Text(f"warning: {warning}"), soft_wrap=True)
    for line in [*unscored_lines(rows, declared, most), *older_lines(rows)]:
        console.print(Text(line), soft_wrap=True)


def unscored_lines(rows: Sequence[Row], declared: Declarations, most: int | None) -> Iterator[str]:
    """What has no scores: how many of each kind, and of what failed each trial with its reason."""
    every = [row for row in rows if not declared.status(row["status"]).is_scored]
    faults = [row for row in every if declared.status(row["status"]).is_fault]
    for status, count in Counter(row["status"] for row in every).items():
        if declared.status(status).is_fault:
            continue
        verb = "trial is" if count == 1 else "trials are"
        yield f"{count} {verb} {status}: {declared.status(status).description}"
    for row in faults[:most]:
        yield f"{row['status']}: {row['id']} {row['model']} {data_of(row)} {row['tuning_method']}: {row.get('error')}"
    if most is not None and len(faults) > most:
        yield f"and {len(faults) - most:,} more trials without scores ({SHOWS_ALL})"


def older_lines(rows: Sequence[Row]) -> Iterator[str]:
    """How many rows were made by another commit than this one."""
    made = [row for row in rows if row.get("git_commit")]
    commit, _ = git_state() if made else (None, None)
    older = [row for row in made if row["git_commit"] != commit]
    if older and commit:
        names = ", ".join(row["id"] for row in older[:5]) + (", ..." if len(older) > 5 else "")
        yield (f"{len(older)} of {len(rows)} rows were made by another commit of raypeft (trials {names}); the sweep "
               "with --rerun makes them anew")  # fmt: skip


def _table(headings: Sequence[Heading], lines: Sequence[Sequence[str]], width: int) -> Table:
    """What a terminal of so many columns has room for."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [width >= heading.width for heading in headings]
    for heading in compress(headings, shown):
        justify: Literal["right", "left"] = "right" if heading.numeric else "left"
        least = 24 if heading.title == "settings" else None
        table.add_column(Text(heading.title), justify=justify, no_wrap=least is None, min_width=least)
    for line in lines:
        table.add_row(*map(Text, compress(line, shown)))
    return table


def headline_scores() -> list[Score]:
    """The scores that a reader looks for first."""
    return [score for score in declared_scores() if score.in_headline]


def headline(row: Row) -> str:
    """One line of the scores that a reader looks for first, in percent; of a trial without answers, its test loss."""
    told = ", ".join(
        f"{score.title} {score.scale * row[score.name]:.1f} {'%' if score.unit == 'fraction' else score.unit}"
        for score in headline_scores()
        if row.get(score.name) is not None
    )
    loss = row.get("test_loss")
    return told or (f"test loss {loss:.4f}" if loss is not None else "")
