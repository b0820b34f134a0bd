"""How a text is read before it is scored: as it is, or as a program of the paper's replication package read it.

The paper (arXiv 2308.10462v3) scored its runs with two programs, which cut predictions and counted CodeBLEU each in
its own way.
"""

from enum import StrEnum


class Reading(StrEnum):
    """Whose way of counting a score follows."""

    CORRECTED = "corrected"
    """What the metric's definition says."""
    PAPER_RQ2 = "paper_rq2"
    """The program that scored tuned models (RQ2, commit e7971c0)."""
    PAPER_RQ1 = "paper_rq1"
    """The program that scored untuned models (RQ1 and RQ3, commit 3b31320), which asked for fenced answers."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"reading must be one of {', '.join(cls)} but got {value!r}")

    @classmethod
    def of_the_paper(cls, trains: bool) -> "Reading":
        """The paper's program for methods that train, or for those that do not."""
        return cls.PAPER_RQ2 if trains else cls.PAPER_RQ1
