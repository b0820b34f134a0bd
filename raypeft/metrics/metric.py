"""What a metric is, and what each of its scores says of itself: its column, its heading, where it is shown.

    METRIC = Metric("parses", "reference", (Score("parses", "parses", "share of candidates that parse"),), compute)

One file here makes one metric, and one line in `raypeft.metrics` puts it to use: its columns, its headings in the table
and its comparisons follow from its scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypeft.records import Column, Judge

READINGS = {
    "low": ", lower bound of the 95 % interval",
    "high": ", upper bound of the 95 % interval",
    "paper": ", computed as in the paper's code",
}
"""What may be stored beside a score, as `<name>_<reading>`."""
WIDE = 110
"""Columns of a terminal that has room for more than the scores that matter most."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a row. Its name is its column."""

    name: str
    title: str
    """What papers call it, as "EM@10"."""
    description: str
    unit: str = "fraction"
    """A fraction is shown in percent, everything else as it is."""
    readings: tuple[str, ...] = ()
    """Which of READINGS are stored beside it."""
    higher_is_better: bool = True
    width: int | None = 0
    """Columns that a terminal must have for the table to show it; None: the table leaves it out."""
    paper_width: int | None = None
    """The same for a heading of its own for the paper's reading."""
    with_interval: bool = False
    """Whether the table shows its bounds as well."""
    in_headline: bool = False
    """Whether it is among the few that the one line about a finished trial tells."""
    over_seeds: bool = True
    """Whether findings sums it up over seeds."""
    hits: str | None = None
    """Values of `Metric.per_example`, each 0 or 1, that McNemar's test compares: this score's own name or another;
    None: its values are numbers."""
    note: str = ""
    """What the table's title says of it, where the heading alone does not tell."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the score and its readings."""
        return (
            Column(self.name, float, self.description, self.unit),
            *(Column(f"{self.name}_{each}", float, self.description + READINGS[each], self.unit)
              for each in self.readings),
        )  # fmt: skip

    @property
    def scale(self) -> int:
        """What a stored value is multiplied by for people."""
        return 100 if self.unit == "fraction" else 1


Row = Mapping[str, Any]
Values = dict[str, dict[str, float]]
"""Name of a score -> example id -> its value."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What metrics read: the answers of one trial to the examples of the test split, and how they are judged."""

    candidates: Mapping[str, Sequence[str]]
    """Example id -> the texts of its candidates, best first."""
    references: Mapping[str, str]
    tests: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Example id -> its rows of the table `tests`; none where the dataset is not judged by tests."""
    levels: tuple[str, ...] = ()
    """The dataset's."""
    paper_stop: tuple[str, ...] = ()
    """The dataset's."""
    trains: bool = True
    """Whether the trial's method does: the paper's programs scored methods that train in another way."""

    @classmethod
    def from_rows(
        cls,
        candidates: Sequence[Row],
        tests: Sequence[Row] = (),
        levels: Sequence[str] = (),
        paper_stop: Sequence[str] = (),
        trains: bool = True,
    ) -> Answers:
        """The answers from a trial's rows of the tables `candidates` and `tests`, in the order of these."""
        texts: dict[str, list[str]] = {}
        for row in candidates:
            texts.setdefault(row["example_id"], []).append(row["text"])
        judged: dict[str, list[Row]] = {}
        for row in tests:
            judged.setdefault(row["example_id"], []).append(row)
        references = {row["example_id"]: row["reference"] for row in candidates}
        return cls(texts, references, judged, tuple(levels), tuple(paper_stop), trains)

    @property
    def pairs(self) -> tuple[list[list[str]], list[str]]:
        """The candidates of each example, and its reference, in the same order."""
        return [[*texts] for texts in self.candidates.values()], [self.references[each] for each in self.candidates]

    @property
    def fewest(self) -> int:
        """The fewest candidates that an example has: a score of more would repeat one of fewer under another name."""
        return min(map(len, self.candidates.values()), default=0)


def no_values(answers: Answers) -> Values:
    """A metric whose scores are of the whole test split only."""
    return {}


def no_scores(level: str) -> tuple[Score, ...]:
    """A metric that does not tell levels apart."""
    return ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to score answers, and the columns that it fills."""

    name: str
    needs: Judge
    """It applies to the datasets that are judged by this."""
    scores: tuple[Score, ...]
    """In the order of the table."""
    compute: Callable[[Answers], dict[str, Any]]
    """The row's values by column. What cannot be known is left out, and stays null."""
    per_example: Callable[[Answers], Values] = no_values
    """The values that two trials can be compared by, of each test example."""
    columns: tuple[Column, ...] = ()
    """What it fills besides its scores."""
    level_scores: Callable[[str], tuple[Score, ...]] = no_scores
    """The scores that it has of a level of the dataset, besides those of all levels."""

    def all_scores(self, levels: Sequence[str] = ()) -> tuple[Score, ...]:
        """Its scores, those of each level behind the others."""
        return (*self.scores, *(score for level in levels for score in self.level_scores(level)))

    def all_columns(self, levels: Sequence[str] = ()) -> list[Column]:
        """Every column that it may fill for a dataset of these levels."""
        return [*(column for score in self.all_scores(levels) for column in score.columns), *self.columns]
