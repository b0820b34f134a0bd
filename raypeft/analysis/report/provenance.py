"""How the numbers of a study were made: code, versions, data, hardware, and the sweep file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raypeft.analysis.report.study import Study
from raypeft.training.columns import seconds_taken_over

COLUMNS = (
    ("raypeft", "raypeft_version"), ("commit", "git_commit"), ("uncommitted changes", "git_dirty"),
    ("Python", "python_version"), ("torch", "torch_version"), ("Transformers", "transformers_version"),
    ("PEFT", "peft_version"), ("device", "device"), ("model weights", "model_resolved_revision"),
    ("data", "dataset_resolved_revision"), ("retrieval", "embedding_resolved_revision"),
    ("sandbox tier", "sandbox_tier"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Provenance:
    """`facts`: what is known, and its values with the number of trials where they differ."""

    facts: tuple[tuple[str, str], ...]
    sweeps: tuple[tuple[str, str], ...]
    """Name and file text of each sweep. An empty text: the folder has no manifest."""


def provenance(study: Study) -> Provenance:
    """What the rows and manifests say of how they were made."""
    facts = []
    for title, column in COLUMNS:
        counts = Counter(str(row[column]) for row in study.rows if row.get(column) is not None)
        if len(counts) == 1:
            facts.append((title, next(iter(counts))))
        elif counts:
            facts.append((title, "; ".join(f"{value[:19]} ({count} trials)" for value, count in counts.most_common(6))))
    times = sorted(str(row["started_at"])[:16] for row in study.rows if row.get("started_at") is not None)
    if times:
        facts.append(("started", times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]} (UTC)"))
    seconds = sum(spent(row) for row in study.rows if row.get("total_seconds") is not None)
    if seconds:
        facts.append(("time of all trials", f"{seconds / 3600:.2f} hours"))
    sweeps = [(each.name, each.manifest.sweep.get("text", "") if each.manifest else "") for each in study.sweeps]
    return Provenance(tuple(facts), tuple(sweeps))


def spent(row: Mapping[str, Any]) -> float:
    """The seconds that a trial itself ran. A training that it took over is the time of another trial."""
    return float(row["total_seconds"]) - seconds_taken_over(row)
