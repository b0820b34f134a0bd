"""How long a trial will probably take, by the trials like it that have ended.

    Timing(rows).expected({"model": "toy", "dataset": "toy", "tuning_method": "lora", ...})      # seconds, or None

Trials are alike if they agree in model, dataset, method, numbers of examples and decoding. Training time is scaled with
the number of epochs. It is a guess: shots, early stops and other trials on the same machine change it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

Row = Mapping[str, Any]
ALIKE = ("model", "model_path", "dataset", "declared", "test_dataset", "test_declared", "tuning_method", "limit",
         "test_limit", "validation_limit", "decode", "num_beams", "num_return_sequences", "do_sample",
         "fidelity")  # fmt: skip
EPOCHS = "num_train_epochs"


class Timing:
    """What ended trials say of the time of others."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.times: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)
        """What makes trials alike -> the seconds of an epoch, and of the rest, of each of them."""
        self.medians: dict[tuple[tuple[Any, ...], float], float] = {}
        """What makes trials alike, and a number of epochs -> what is expected. Thousands of trials ask for the same."""
        for row in rows:
            total, training = row.get("total_seconds") or 0.0, _training(row)
            # In rows of older versions the total of a trial that went on may lack its training.
            if row.get("status") in ("ok", "generated") and total > training and (row.get("attempts") or 1) == 1:
                self.times[_kind(row)].append((training / (row.get(EPOCHS) or 1), total - training))

    def expected(self, fields: Row) -> float | None:
        """The median over the trials like it, in seconds; None where there is none."""
        kind, epochs = _kind(fields), fields.get(EPOCHS) or 1
        if kind not in self.times:
            return None
        if (kind, epochs) not in self.medians:
            self.medians[kind, epochs] = median(epoch * epochs + rest for epoch, rest in self.times[kind])
        return self.medians[kind, epochs]

    def count(self, fields: Row) -> int:
        """How many trials like it there are."""
        return len(self.times.get(_kind(fields), ()))


def _training(row: Row) -> float:
    return (row.get("train_seconds") or 0.0) + (row.get("eval_seconds") or 0.0)


def _kind(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ALIKE)
