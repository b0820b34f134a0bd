"""Which trials share one training: those that differ only in what is asked once it has ended.

    shared = shared_trainings(trials)      # {"61da8be3c4": "0f6f3c7a21", "d7d8a8c9b0": "0f6f3c7a21"}

Such trials train on a mix and are tested on one of its datasets each, for example, or with several numbers of beams.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from raypeft.methods import Method
from raypeft.study.config import Trial
from raypeft.study.trials import TEST_FIELDS

SHOTS = tuple(name for name in Method.model_fields if name != "name")
"""The fields of every method: how it chooses shots, which no prompt has in training."""
AFTER_TRAINING = (*TEST_FIELDS, *SHOTS, "test_limit", "validation_limit", "decode", "num_beams", "num_return_sequences",
                  "do_sample", "temperature", "top_p")  # fmt: skip
"""Fields of a trial that its training does not depend on."""


def training_fields(trial: Trial) -> dict[str, Any]:
    """The fields that a trial's training depends on, by the name of their column."""
    fields = {name: value for name, value in trial.fields.items() if name not in AFTER_TRAINING}
    return fields | ({"left_out_for": trial.test_dataset} if of_same_sources(trial) else {})


def training_id(trial: Trial) -> str:
    """Ten hex digits, the same for all trials that train the same model in the same way on the same data."""
    written = json.dumps(training_fields(trial), sort_keys=True, default=str)
    return hashlib.sha256(f"training {written}".encode()).hexdigest()[:10]


def shared_trainings(trials: Iterable[Trial]) -> dict[str, str]:
    """Trial id -> id of its training, of those trials whose training is that of another one of them as well."""
    ids = {trial.id: training_id(trial) for trial in trials if trial.method.trains}
    counts = Counter(ids.values())
    return {trial: training for trial, training in ids.items() if counts[training] > 1}


def of_same_sources(trial: Trial) -> list[str]:
    """The datasets that a trial trains on whose examples are known to have the same sources as those of its other
    dataset for testing: of these some are left out."""
    source_of = trial.test_data.source_of
    if not trial.test_dataset or source_of is None:
        return []
    return [each.name for each in trial.data.joined if each.name != trial.test_dataset and each.source_of is source_of]
