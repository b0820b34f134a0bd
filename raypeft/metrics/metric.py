"""Metrics and their scores. A score declares its column, its heading and where it is shown.

    METRIC = Metric("parses", "reference", (Score("parses", "parses", "Share of candidates that parse"),), compute)

To add a metric, write a file here and list it in `raypeft.metrics`. Its columns, its headings in tables and its
comparisons follow from its scores.
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
    "validation": ", on the validation split (validation_limit)",
    "paper_low": ", computed as in the paper's code, lower bound of the 95 % interval",
    "paper_high": ", computed as in the paper's code, upper bound of the 95 % interval",
}
"""Further values stored with a score, in the columns `<name>_<reading>`, and the end of their description."""
WIDE = 110
"""Width of a terminal, in characters, from which tables show more than the main scores."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a trial. Its name is its column."""

    name: str
    title: str
    """Name in tables, as papers write it, such as "EM@10"."""
    description: str
    unit: str = "fraction"
    """Fractions are shown in percent, other units unchanged."""
    readings: tuple[str, ...] = ()
    """Which of READINGS are stored with it."""
    higher_is_better: bool = True
    width: int | None = 0
    """Minimum width of a terminal, in characters, for tables to show it. None: tables do not show it."""
    paper_width: int | None = None
    """The same for a separate column with the reading `paper`."""
    with_interval: bool = False
    """Whether tables show its 95 % interval."""
    in_headline: bool = False
    """Whether it is part of the line that is printed when a trial ends."""
    over_seeds: bool = True
    """Whether `raypeft findings` summarises it over seeds."""
    hits: str | None = None
    """Values of `Metric.per_example`, each 0 or 1, that McNemar's test compares: this score's own name or another;
    None: its values are numbers."""
    note: str = ""
    """An explanation for the title of the table, if the heading alone is not clear."""

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
        """Factor from a stored value to the shown one: 100 for fractions."""
        return 100 if self.unit == "fraction" else 1

    def text(self, value: float, sign: str = "") -> str:
        """A value, or with `sign` "+" a difference, as findings show it: a fraction in percent."""
        return format(self.scale * value, f"{sign}.1f" if self.unit == "fraction" else f"{sign}.4f")


Row = Mapping[str, Any]
Values = dict[str, dict[str, float]]
"""Name of a score -> example id -> its value."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The input of metrics: the answers of one trial to the test examples, and how they were judged."""

    candidates: Mapping[str, Sequence[str]]
    """Example id -> the texts of its candidates, best first."""
    references: Mapping[str, str]
    tests: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Example id -> its rows of the table `tests`. Empty if the dataset is not judged by tests."""
    levels: tuple[str, ...] = ()
    """The dataset's."""
    paper_stop: tuple[str, ...] = ()
    """The dataset's."""
    trains: bool = True
    """Whether the tuning method trains. The paper's programs score methods that train differently."""
    as_paper: bool = False
    """Whether the trial follows the paper's code (`fidelity: paper`). Its scores with the reading `paper` then also
    repeat what that code did to candidates on the way to its scoring programs."""
    fenced: bool = True
    """Whether the prompts asked for an answer in a code fence, as the paper's did where nothing was trained."""

    @classmethod
    def from_rows(
        cls,
        candidates: Sequence[Row],
        tests: Sequence[Row] = (),
        levels: Sequence[str] = (),
        paper_stop: Sequence[str] = (),
        trains: bool = True,
    ) -> Answers:
        """The answers from a trial's rows of the tables `candidates` and `tests`, in the order of the rows."""
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
        """The candidates of all examples, and their references in the same order."""
        return [[*texts] for texts in self.candidates.values()], [self.references[each] for each in self.candidates]

    @property
    def fewest(self) -> int:
        """The smallest number of candidates of an example. Scores of more candidates are not computed."""
        return min(map(len, self.candidates.values()), default=0)


def no_values(answers: Answers) -> Values:
    """For metrics without values for single examples."""
    return {}


def no_scores(levels: Sequence[str]) -> tuple[Score, ...]:
    """For metrics without scores for each level."""
    return ()


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to score answers, and the columns that it fills."""

    name: str
    needs: Judge
    """The metric is computed for datasets that are judged in this way."""
    scores: tuple[Score, ...]
    """In the order of the table's columns."""
    compute: Callable[[Answers], dict[str, Any]]
    """Computes the values of the row by column. Values that cannot be computed are left out and stay null."""
    per_example: Callable[[Answers], Values] = no_values
    """Computes the values of each test example, on which two trials are compared."""
    columns: tuple[Column, ...] = ()
    """Columns that it fills in addition to its scores."""
    level_scores: Callable[[Sequence[str]], tuple[Score, ...]] = no_scores
    """Its scores for each of these levels, in addition to those over all levels. Their headings differ."""

    def all_scores(self, levels: Sequence[str] = ()) -> tuple[Score, ...]:
        """All its scores: first those over all levels, then those of each level."""
        return (*self.scores, *self.level_scores(levels))

    def all_columns(self, levels: Sequence[str] = ()) -> list[Column]:
        """All columns that it may fill for a dataset with these levels."""
        return [*(column for score in self.all_scores(levels) for column in score.columns), *self.columns]
