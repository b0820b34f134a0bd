"""The base class of all tuning methods, and the methods that train nothing.

Torch and PEFT are imported only when a method is applied. The name of a field is its key in a sweep file and its
column in the results.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from raypeft.models.architectures import Architecture
from raypeft.models.table import ModelFamily, Weights
from raypeft.retrieval.embeddings import DEFAULT_MODEL

if TYPE_CHECKING:
    from raypeft.models.loading import Base


NAME = "Name of the tuning method"
NUM_SHOTS = "Number of training examples (shots) in the prompt before the query"


class Method(BaseModel):
    """A tuning method and its fields. `trains` says whether it trains anything."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    trains: ClassVar[bool] = False
    base_weights: ClassVar[Weights] = "half"
    """Number format of the base model's weights in memory."""
    paper_defaults: ClassVar[dict[str, Any]] = {}
    """Fields that have another default under `fidelity: paper`."""
    name: str = Field(description=NAME)
    num_shots: int = Field(0, ge=0, le=16, description=NUM_SHOTS)
    icl_seed: int = Field(42, description="Random seed for the choice of shots")
    shot_source: Literal["random", "retrieved"] = Field(
        "random", description="How shots are chosen: at random, or by the similarity of their instruction to the query"
    )
    icl_sampling: Literal["fixed", "per_example"] = Field(
        "fixed", description="Random shots: the same ones for every query (as in the paper), or new ones for each query"
    )
    embedding_model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description="What retrieves shots: a sentence-transformers model (hub id or folder), minilm, toy or bm25",
    )
    embedding_revision: str | None = Field(None, description="Branch, tag or commit of embedding_model on the hub")
    reranker: str | None = Field(
        None, description="Cross-encoder (hub id or folder) that reranks the retrieved examples. null: no reranking"
    )
    rerank_candidates: int = Field(50, ge=1, description="Number of retrieved examples that the reranker scores")
    shot_order: Literal["nearest_first", "nearest_last"] = Field(
        "nearest_first",
        description="Order of retrieved shots in the prompt: nearest_last puts the nearest next to the query",
    )
    on_overflow: Literal["drop", "error"] = Field(
        "drop",
        description="If a prompt exceeds the model's context: drop the least similar shots, or fail the trial",
    )

    @property
    def idle_fields(self) -> set[str]:
        """Fields without effect, given the other fields. Trials that differ only in these are the same trial."""
        retrieval = {"embedding_model", "embedding_revision", "reranker", "rerank_candidates", "shot_order"}
        if not self.num_shots:
            return {"icl_seed", "shot_source", "icl_sampling", "on_overflow", *retrieval}
        if self.shot_source == "random":
            return retrieval
        return {"icl_seed", "icl_sampling", *(() if self.reranker else ("rerank_candidates",))}

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        """Yield the model to train and to generate with. Afterwards `base` is as before, ready for the next trial.

        Raises an error of PEFT if the model has none of the modules that the method targets.
        """
        yield base.model

    def refusal(self, family: ModelFamily) -> str | None:
        """Why the method cannot be used with this model, as far as planning can tell. None if it can."""
        return None

    def trainable_params(self, architecture: Architecture) -> int:
        """Number of trained parameters."""
        return 0

    def added_params(self, architecture: Architecture) -> int:
        """Number of parameters that the method adds to the base model."""
        return 0


class ZeroShot(Method):
    """The unchanged base model, without examples in the prompt."""

    name: Literal["zero_shot"] = Field("zero_shot", description=NAME)
    num_shots: int = Field(0, ge=0, le=0, description=NUM_SHOTS)


class Icl(Method):
    """In-context learning: random training examples in the prompt, usually the same for all queries (paper: RQ1)."""

    name: Literal["icl"] = Field("icl", description=NAME)
    num_shots: int = Field(8, ge=1, le=16, description=NUM_SHOTS)
    shot_source: Literal["random"] = Field("random", description="icl chooses its shots at random")


class Rag(Method):
    """Retrieval-augmented generation: the training examples most similar to the query in its prompt (paper: RQ3)."""

    name: Literal["rag"] = Field("rag", description=NAME)
    num_shots: int = Field(4, ge=1, le=16, description=NUM_SHOTS)
    shot_source: Literal["retrieved"] = Field(
        "retrieved", description="rag retrieves the shots most similar to the query"
    )
