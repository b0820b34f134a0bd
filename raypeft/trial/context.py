"""`TrialContext`: all that a trial is given, passed whole from stage to stage.

context = TrialContext(trial, "rq2", store, services=services, listener=print)
with context.stage("load"):
    ...
context.seconds["load_seconds"]
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from raypeft import events
from raypeft.events import Listener, Stage
from raypeft.gpu import Meter
from raypeft.mistakes import must_be_one_of
from raypeft.models.loading import BaseCache
from raypeft.records import Dataset
from raypeft.results.store import ResultStore
from raypeft.services.local import LocalServices
from raypeft.services.protocol import Services
from raypeft.stopping import Stop
from raypeft.study.config import Trial
from raypeft.study.memory import Prediction
from raypeft.study.options import Resources, RunOptions
from raypeft.trial.shared_training import SharedTraining
from raypeft.trial.stages import STAGES


@dataclass(frozen=True, slots=True)
class TrialContext:
    """A trial, and what it works with: where its rows go, what it shares with others, what it may take."""

    trial: Trial
    sweep: str
    """The sweep's name, for the row."""
    store: ResultStore
    bases: BaseCache = field(default_factory=BaseCache)
    """The base model that this process holds from one trial to the next."""
    services: Services = field(default_factory=LocalServices)
    """What the trials of a sweep share."""
    resources: Resources = field(default_factory=Resources)
    options: RunOptions = field(default_factory=RunOptions)
    listener: Listener = events.ignore
    """Hears every event of the trial."""
    attempt: int = 1
    """How many times the trial was started, this time included, since it last came to a result."""
    stop: Stop = field(default_factory=Stop)
    """Tells the trial to come to an end where it can go on later."""
    gpu_share: float | None = None
    """The share of a GPU that the trial was given by Ray. None: it was not asked."""
    whole_gpu_memory_gb: float | None = None
    """What the trial may use where it does not share a GPU, in GiB. None: as in `resources`."""
    shared: SharedTraining | None = None
    """The training, where other trials share it."""
    memory_plan: Prediction | None = None
    """How to stay within the GPU's memory; None where there is no GPU, or where nothing is known of the model."""
    longest_answer: int = 0
    """Tokens of the longest reference answer that there is room for, known once data and tokenizer are loaded. 0 where
    nobody needs it."""
    learns_fences: bool = False
    """Whether most answers that the trial is trained on begin with a code fence, known once data is loaded."""
    validates: bool = False
    """Whether examples of the validation split are asked, and not those of the test split."""
    meter: Meter = field(default_factory=Meter)
    """Peak GPU memory by stage."""
    decoded_together: list[int] = field(default_factory=list)
    """Examples in each batch that was decoded, but for the last of a split, which has what is left."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took, by column, with what an earlier start of the trial did of it."""
    earlier: dict[str, float] = field(default_factory=dict)
    """Stage -> how long an earlier start took for the part of it from which this one goes on, in seconds; so too of a
    training that another trial has done."""

    @property
    def dataset(self) -> Dataset:
        """The dataset whose examples are asked: with a `test_dataset` the test split is of another one than the
        validation split. What is trained on is `trial.data`."""
        return self.trial.validated_data if self.validates else self.trial.test_data

    @property
    def max_new_tokens(self) -> int:
        """As asked, or the dataset's, or what its longest reference answer needs."""
        return self.trial.max_new_tokens or self.dataset.max_new_tokens or self.longest_answer

    @property
    def generation_batch_size(self) -> int:
        """Examples decoded at once: as asked, or as many as the GPU's budget allows."""
        return self.memory_plan.generation_batch_size if self.memory_plan else self.resources.decoded_together

    @property
    def runs_tests(self) -> bool:
        return "tests" in self.trial.test_data.judged_by and self.trial.decode and not self.options.generate_only

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell that a stage begins; measure how long it takes and the GPU memory that it needs.

        Raises Stopped instead where the trial was told to stop, and ValueError for a stage that is not in `STAGES`:
        its time would have no column.
        """
        if name not in STAGES:
            raise ValueError(f"stage {must_be_one_of(STAGES, name)}")
        self.stop.check()
        self.listener(Stage(name))
        started = time.perf_counter()
        try:
            with self.meter.stage(name):
                yield
        finally:
            self.seconds[f"{name}_seconds"] = time.perf_counter() - started + self.earlier.get(name, 0.0)
