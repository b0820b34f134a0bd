"""What every tuning method has, and the methods that train nothing.

Torch and PEFT are imported only when a method is applied. A field's name is the row's column and the sweep file's key.
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


class Method(BaseModel):
    """What every method has. `trains` says whether there is anything to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    trains: ClassVar[bool] = False
    base_weights: ClassVar[Weights] = "half"
    """How the base model's weights are held."""
    paper_defaults: ClassVar[dict[str, Any]] = {}
    """Fields whose default is another one under `fidelity: paper`."""
    name: str
    num_shots: int = Field(0, ge=0, le=16, description="training examples shown in the prompt before the query")
    icl_seed: int = Field(42, description="seed of the random choice of shots")
    shot_source: Literal["random", "retrieved"] = Field(
        "random", description="shots at random, or those whose instruction is nearest to the query's"
    )
    icl_sampling: Literal["fixed", "per_example"] = Field(
        "fixed", description="random shots: the same for every query, as in the paper, or drawn for each"
    )
    embedding_model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description="what retrieves shots: a sentence-transformers model (hub id or folder), minilm, toy, or bm25",
    )
    embedding_revision: str | None = Field(
        None, description="branch, tag or commit of embedding_model on the hub, as asked for"
    )
    reranker: str | None = Field(
        None, description="a cross-encoder (hub id or folder) that puts the nearest examples in a second order"
    )
    rerank_candidates: int = Field(50, ge=1, description="how many of the nearest examples the reranker is shown")
    shot_order: Literal["nearest_first", "nearest_last"] = Field(
        "nearest_first", description="place of the nearest retrieved shot; the query follows the last"
    )
    on_overflow: Literal["drop", "error"] = Field(
        "drop", description="where a prompt exceeds the context: drop its shots from the far end, or fail the trial"
    )

    @property
    def idle_fields(self) -> set[str]:
        """Fields on shots that change nothing as the others stand; trials that differ in these only are one trial."""
        retrieval = {"embedding_model", "embedding_revision", "reranker", "rerank_candidates", "shot_order"}
        if not self.num_shots:
            return {"shot_source", "icl_sampling", "on_overflow", *retrieval}
        if self.shot_source == "random":
            return retrieval
        return {"icl_seed", "icl_sampling", *(() if self.reranker else ("rerank_candidates",))}

    @contextmanager
    def applied(self, base: Base) -> Iterator[Any]:
        """Give the model to train and to generate with; afterwards `base` serves the next trial unchanged.

        Raises whatever PEFT raises where the model has none of the modules that the method targets.
        """
        yield base.model

    def refusal(self, family: ModelFamily) -> str | None:
        """Why models of this family cannot take the method, as far as planning can know; None: they can."""
        return None

    def trainable_params(self, architecture: Architecture) -> int:
        """Parameters that are trained."""
        return 0

    def added_params(self, architecture: Architecture) -> int:
        """Parameters that the method adds to those of the base model."""
        return 0


class ZeroShot(Method):
    """The base model as it is, asked without examples."""

    name: Literal["zero_shot"] = "zero_shot"
    num_shots: int = Field(0, ge=0, le=0, description="training examples shown in the prompt before the query")


class Icl(Method):
    """In-context learning: the same random training examples before every query (RQ1 of the paper)."""

    name: Literal["icl"] = "icl"
    num_shots: int = Field(8, ge=1, le=16, description="training examples shown in the prompt before the query")
    shot_source: Literal["random"] = Field("random", description="icl's shots are drawn at random")


class Rag(Method):
    """Retrieval-augmented generation: the training examples nearest to each query, before it (RQ3 of the paper)."""

    name: Literal["rag"] = "rag"
    num_shots: int = Field(4, ge=1, le=16, description="training examples shown in the prompt before the query")
    shot_source: Literal["retrieved"] = Field("retrieved", description="rag's shots are the nearest")
