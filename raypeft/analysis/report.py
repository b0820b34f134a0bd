"""Parquet -> the table that people read: scores in percent, one line a trial.

raypeft report results/quickstart             # on the terminal
raypeft report results/quickstart --markdown  # for a README or a paper's draft
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raypeft.data import DATASETS
from raypeft.data.apps import LEVELS
from raypeft.study.config import METHODS, Trial
from raypeft.trial.provenance import git_state

Row = dict[str, Any]

HEADLINE = (
    ("em_at_1", "EM@1"),
    ("em_at_10", "EM@10"),
    ("codebleu", "CodeBLEU"),
    ("pass_at_1", "pass@1"),
    ("pass_at_5", "pass@5"),
    ("avg_tests_passed", "tests passed"),
)
"""The scores that a reader looks for first, and what papers call them."""


@dataclass(frozen=True, slots=True)
class Heading:
    """One column of the printed table: its title, and its text for a row (empty where there is nothing to say)."""

    title: str
    text: Callable[[Row], str]
    numeric: bool = True
    narrow: bool = True
    """Whether it is shown on a narrow terminal as well."""


LEVEL_NOTE = "; " + ", ".join(f"{level[:5]}.: pass@1 of {level} problems" for level in LEVELS)


def percent(name: str) -> Callable[[Row], str]:
    return lambda row: f"{100 * row[name]:.1f}" if row.get(name) is not None else ""


def with_interval(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        if row.get(name) is None:
            return ""
        if row.get(f"{name}_low") is None or row.get(f"{name}_high") is None:
            return percent(name)(row)
        return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"

    return text


def number(name: str, form: str) -> Callable[[Row], str]:
    return lambda row: format(row[name], form) if row.get(name) is not None else ""


def millions(name: str) -> Callable[[Row], str]:
    """A count of parameters as the papers write it: 2.07M, 0.07M."""
    return lambda row: f"{row[name] / 1e6:.3g}M" if row.get(name) else ""


SHARED = [
    Heading("model", lambda row: row["model"], numeric=False),
    Heading("dataset", lambda row: row["dataset"], numeric=False),
    Heading("test examples", number("test_examples", "d")),
]
"""Columns that move to the table's title where all rows agree."""
HEADINGS = [
    Heading("method", lambda row: row["tuning_method"], numeric=False),
    Heading("settings", lambda row: row["settings"], numeric=False),
    Heading("EM@1", percent("em_at_1")),
    Heading("EM@10 [95 %]", with_interval("em_at_10")),
    Heading("EM@10 paper", percent("em_at_10_paper"), narrow=False),
    Heading("CodeBLEU", percent("codebleu")),
    Heading("CodeBLEU paper", percent("codebleu_paper"), narrow=False),
    Heading("pass@1 [95 %]", with_interval("pass_at_1")),
    Heading("pass@5", percent("pass_at_5")),
    Heading("tests passed", percent("avg_tests_passed")),
    *(Heading(f"{level[:5]}.", percent(f"pass_at_1_{level}"), narrow=False) for level in LEVELS),
    Heading("params", millions("trainable_params")),
    Heading("loss", number("best_eval_loss", ".3f"), narrow=False),
    Heading("GiB", number("peak_memory_reserved_gb", ".1f")),
    Heading("seconds", number("total_seconds", ".0f")),
]
NEVER_SETTINGS = {"model", "model_path", "dataset", "dataset_path", "tuning_method", "limit", "test_limit"}
SHORT = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "num_shots": "shots",
    "embedding_model": "retriever",
    "lora_r": "r",
    "lora_alpha": "alpha",
}
"""What papers write for a field."""


def summary_table(rows: Sequence[Row]) -> tuple[str, list[Heading], list[list[str]]]:
    """The title (what all rows share), the headings that have something to say about them, and each row's texts."""
    told = [{**row, "settings": settings(row, rows)} for row in rows]
    columns = [(heading, [heading.text(row) for row in told]) for heading in (*SHARED, *HEADINGS)]
    common = [(heading, texts[0]) for heading, texts in columns if heading in SHARED and len(set(texts)) == 1]
    title = ", ".join([f"{heading.title} {text}" for heading, text in common if text] + ["scores in percent"])
    if any(row.get(f"pass_at_1_{LEVELS[0]}") is not None for row in rows):
        title += LEVEL_NOTE
    kept = [(heading, texts) for heading, texts in columns if any(texts) and (heading, texts[0]) not in common]
    return (
        title,
        [heading for heading, _ in kept],
        [list(line) for line in zip(*(texts for _, texts in kept), strict=True)],
    )


def by_scores(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows whose scores are of one kind together, since a table of both would be half empty."""
    groups: dict[bool, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["dataset"] in DATASETS and DATASETS[row["dataset"]].is_tested, []).append(row)
    return list(groups.values())


def settings(row: Row, rows: Sequence[Row]) -> str:
    """The fields of a row that are not their default or that differ between the trials of its method and dataset."""
    alike = [other for other in rows if all(other[name] == row[name] for name in ("tuning_method", "dataset"))]
    fields = {**Trial.model_fields, **METHODS[row["tuning_method"]].model_fields}
    usual = DATASETS[row["dataset"]].decoding if row["dataset"] in DATASETS else {}
    parts = []
    for name, info in fields.items():
        if name in NEVER_SETTINGS or name not in row or row[name] is None:
            continue
        if row[name] != usual.get(name, info.default) or any(other[name] != row[name] for other in alike):
            value = f"{row[name]:g}" if isinstance(row[name], float) else row[name]
            parts.append(f"{SHORT.get(name, name)} {value}")
        elif name in ("num_shots", "lora_r") and row[name]:
            parts.append(f"{SHORT[name]} {row[name]}")
    return ", ".join(parts)


def print_summary(rows: Sequence[Row], console: Console | None = None) -> None:
    """The table of a sweep's rows, then what failed and what was made by other code."""
    console = console or Console()
    if not console.is_terminal:
        # Outside a terminal there is no width to keep to, and a folded table is no use to anyone.
        console.width = 160
    for group in by_scores(rows):
        title, headings, lines = summary_table(group)
        console.print(Text(title), soft_wrap=True)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        shown = [heading.narrow or console.width >= 110 for heading in headings]
        for heading in compress(headings, shown):
            justify: Literal["right", "left"] = "right" if heading.numeric else "left"
            width = 24 if heading.title == "settings" else None
            table.add_column(Text(heading.title), justify=justify, no_wrap=width is None, min_width=width)
        for line in lines:
            table.add_row(*map(Text, compress(line, shown)))
        console.print(table)
    for row in rows:
        if row["status"] != "ok":
            name = f"{row['id']} {row['model']} {row['dataset']} {row['tuning_method']}"
            console.print(Text(f"{row['status']}: {name}: {row['error']}"))
    commit, _ = git_state()
    older = [row for row in rows if row.get("git_commit") and row["git_commit"] != commit]
    if older and commit:
        names = ", ".join(row["id"] for row in older[:5]) + (", ..." if len(older) > 5 else "")
        console.print(Text(f"{len(older)} of {len(rows)} rows were made by another commit of raypeft ({names}); "
                           "--rerun makes them anew"))  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """The same tables as GitHub's Markdown; empty where there are no rows."""
    return "\n\n".join(map(_markdown_table, by_scores(rows)))


def _markdown_table(rows: Sequence[Row]) -> str:
    title, headings, lines = summary_table(rows)
    rule = [" ---: " if heading.numeric else " --- " for heading in headings]
    table = [[f" {heading.title} " for heading in headings], rule, *([f" {text} " for text in line] for line in lines)]
    return f"{title}\n\n" + "\n".join(f"|{'|'.join(line)}|" for line in table)


def headline(row: dict[str, Any]) -> str:
    """The scores that a reader looks for first, in percent."""
    return ", ".join(f"{word} {100 * row[name]:.1f} %" for name, word in HEADLINE if row.get(name) is not None)
