"""What trials may use and how they are run: `Resources`, `SandboxOptions`, `RunFields`. None changes a trial's id."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from raypeft.sandbox import Limits, SandboxSettings

USUAL_BATCH = 16
"""Examples decoded together by default."""


class Resources(BaseModel):
    """The resources that one trial may use."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gpu_memory_gb: float = Field(24, gt=0, description="GPU memory that one trial may use, in GiB")
    cpus_per_trial: int = Field(2, ge=1, description="CPU cores and torch threads of one trial that uses no GPU")
    use_gpu: bool | None = Field(
        None,
        description="Whether trials ask for a GPU. true: also where the cluster has none yet, since it may bring one; "
        "false: never. null: where there is one when the sweep starts",
    )
    generation_batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        USUAL_BATCH,
        description="Examples decoded together. Halved automatically when GPU memory runs out. auto: on a GPU, as many "
        "as half of the budget is predicted to hold, at most 128: small models are decoded several times as fast, but "
        "peak memory no longer compares methods",
    )
    share: Literal["never", "auto"] = Field(
        "never",
        description="Whether small trials share a GPU. auto: a trial gets an eighth, a quarter, half or all of "
        "gpu_memory_gb, the smallest part that its predicted peak fits. Times are then those of a shared GPU",
    )

    @property
    def decoded_together(self) -> int:
        """Examples decoded together where no plan for a GPU's memory says how many."""
        return USUAL_BATCH if self.generation_batch_size == "auto" else self.generation_batch_size


class SandboxOptions(BaseModel):
    """How generated programs are run on their tests. `raypeft.sandbox` describes the tiers of isolation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tier: Literal["auto", "A", "B", "C", "U"] = Field(
        "auto", description="Isolation of the programs, from A (strongest) to U (none). auto: the best one available"
    )
    seconds_per_test: float = Field(
        4.0,
        ge=0.01,
        le=3600,
        description="CPU time limit of one test, in seconds. Time spent waiting or sleeping is limited as well",
    )
    memory_mb: int = Field(
        1024, ge=64, le=1 << 20, description="Memory limit of one program (its address space), in MiB"
    )
    stop: Literal["first_fail"] | None = Field(
        None,
        description="first_fail: skip a candidate's remaining tests after its first failure; avg_tests_passed is then "
        "not computed. null: run every test",
    )
    workers: int | None = Field(
        None, ge=1, description="Programs run at the same time on a cluster. null: one for each CPU core"
    )
    allow_unsafe_execution: bool = Field(
        False, description="Run generated programs even on a machine without isolation"
    )

    @property
    def settings(self) -> SandboxSettings:
        limits = Limits(seconds_per_test=self.seconds_per_test, memory_mb=self.memory_mb)
        return SandboxSettings(limits, self.tier, self.stop, self.allow_unsafe_execution)


Keep = Literal["adapter", "model", "nothing"]
KeepCheckpoints = Literal["none", "last"]


class RunFields(BaseModel):
    """How trials are run, as a sweep file says it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sandbox: SandboxOptions = Field(SandboxOptions(), description="How generated programs are run on their tests")
    keep: Keep = Field(
        "adapter",
        description="What is kept of a trained model. adapter: the adapter, and nothing of full fine-tuning; model: "
        "the weights of full fine-tuning as well; nothing: neither",
    )
    max_failures: int = Field(
        2,
        ge=0,
        description="How many times a trial is started again within a sweep when its process or its node is lost. Its "
        "own errors are not tried again",
    )
    checkpoint_minutes: float | None = Field(
        5,
        ge=0,
        description="Time between two checkpoints of a training, in minutes; after half of it, an evaluation is "
        "followed by one. A trial that is interrupted goes on from its last one. 0: after every step; null: no "
        "checkpoints",
    )
    keep_checkpoints: KeepCheckpoints = Field(
        "none",
        description="What is kept of the checkpoints of a finished trial. none: nothing; last: the last one, with the "
        "state of the optimiser if training had not ended",
    )
    stall_minutes: float | None = Field(
        120,
        gt=0,
        description="A running trial of which nothing has been heard for so many minutes is ended and counts as "
        "failed: no step, batch of answers or stage. null: never",
    )
    deterministic: bool = Field(
        False,
        description="Whether PyTorch and CUDA use deterministic algorithms where they have them, so that a trial on "
        "the same GPU gives the same numbers again. Slower",
    )
    graphs: Literal["auto", "never"] = Field(
        "never",
        description="Whether a GPU runs training passes and decoding steps as CUDA graphs. auto: where the model "
        "allows it, so that small models wait less for the CPU",
    )


class RunOptions(RunFields):
    """How trials are run: what the sweep file says, and the command."""

    @property
    def share_trainings(self) -> bool:
        """Whether trials that train alike do it once: they share its checkpoint, if that is not to be kept for each."""
        return self.checkpoint_minutes is not None and self.keep_checkpoints == "none"

    force: bool = Field(False, description="Also run trials that are predicted not to fit their GPU memory")
    generate_only: bool = Field(False, description="Store candidates without scores; `raypeft score` adds them later")
