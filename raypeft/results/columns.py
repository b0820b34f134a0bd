"""The columns of every table of the results: names, Arrow types, and what they mean and are counted in.

[column.name for column in MEASURED]

A trial's own fields come from `raypeft.study.config.trial_columns`; what is measured follows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic.fields import FieldInfo

from raypeft.data.apps import LEVELS
from raypeft.sandbox.records import OUTCOMES
from raypeft.study.config import trial_fields


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Arrow type, and a description and unit that go into the schema's metadata."""

    name: str
    type: pa.DataType
    description: str
    unit: str = ""

    def field(self) -> pa.Field:
        metadata = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, self.type, metadata=metadata)


PAPER = ("_paper", ", as the paper's code counts")
READINGS = (("", ""), ("_low", ", lower 95 % bound"), ("_high", ", upper 95 % bound"), PAPER)
EXACT_MATCH = [
    Column(f"em_at_{k}{suffix}", pa.float64(), f"exact match among the first {k} candidates{what}", "fraction")
    for k in (1, 2, 5, 10)
    for suffix, what in READINGS
]
CODEBLEU = [
    Column(f"codebleu{suffix}", pa.float64(), f"CodeBLEU of the first candidates, corpus level{what}", "fraction")
    for suffix, what in READINGS
]
TEST_SCORES = [
    Column(f"{score}{scope}{suffix}", pa.float64(), f"{what}{where}{reading}", "fraction")
    for scope, where in (("", ""), *((f"_{level}", f", {level} problems") for level in LEVELS))
    for score, what in (
        ("avg_tests_passed", "share of its tests that a candidate passes, mean over candidates, then problems"),
        ("strict_accuracy", "share of candidates that pass all their tests, mean over problems"),
        *((f"pass_at_{k}", f"chance that one of {k} candidates passes all tests, unbiased") for k in (1, 2, 5)),
    )
    for suffix, reading in READINGS
]
TEST_COUNTS = [
    Column(f"{outcome}_tests", pa.int64(), f"tests of all candidates that ended in {outcome}", "tests")
    for outcome in OUTCOMES
]
CODEBLEU_PARTS = [
    Column(f"{part}{suffix}", pa.float64(), f"CodeBLEU's part {part}{what}", "fraction")
    for part in ("ngram_match", "weighted_ngram_match", "syntax_match", "dataflow_match")
    for suffix, what in (("", ""), PAPER)
]
MEASURED = [
    Column(
        "status",
        pa.string(),
        "ok, oom (the GPU's memory ran out), infeasible (predicted not to fit), generated (not scored yet) or failed",
    ),
    Column("error", pa.string(), "what went wrong, where status is not ok"),
    *EXACT_MATCH,
    *CODEBLEU,
    *CODEBLEU_PARTS,
    *TEST_SCORES,
    *TEST_COUNTS,
    Column("problems_without_tests", pa.int64(), "test problems left out, since nothing can judge them", "problems"),
    Column("without_tests_because", pa.string(), "what is wrong with the tests of these problems, with counts"),
    Column("cached_programs", pa.int64(), "candidates equal to one that had been run on the same tests", "programs"),
    Column("sandbox_tier", pa.string(), "isolation of the programs: A, B, C or U (none); several where nodes differ"),
    Column("sandbox_isolation", pa.string(), "JSON: what the sandbox measured of its isolation, and its limits"),
    Column("best_eval_loss", pa.float64(), "lowest loss on the validation split", "nats per answer token"),
    Column("best_step", pa.int64(), "optimiser step of the lowest validation loss", "steps"),
    Column("steps", pa.int64(), "optimiser steps", "steps"),
    Column("trainable_params", pa.int64(), "parameters that the method trains", "parameters"),
    Column("total_params", pa.int64(), "parameters of base and adapter, unquantised", "parameters"),
    Column("train_examples", pa.int64(), "examples of the training split that were used", "examples"),
    Column("validation_examples", pa.int64(), "examples of the validation split that were used", "examples"),
    Column("train_left_out", pa.int64(), "training examples left out for want of an answer", "examples"),
    Column("train_too_long", pa.int64(), "training examples left out as longer than max_length", "examples"),
    Column("validation_left_out", pa.int64(), "validation examples left out for want of an answer", "examples"),
    Column("validation_too_long", pa.int64(), "validation examples left out as longer than max_length", "examples"),
    Column("test_examples", pa.int64(), "examples of the test split that were used", "examples"),
    Column("mean_prompt_tokens", pa.float64(), "mean length of the test prompts, shots included", "tokens"),
    Column("median_prompt_tokens", pa.int64(), "half of the test prompts are no longer", "tokens"),
    Column("p95_prompt_tokens", pa.int64(), "95 % of the test prompts are no longer", "tokens"),
    Column("max_prompt_tokens", pa.int64(), "longest test prompt, shots included", "tokens"),
    Column("cut_examples", pa.int64(), "test examples whose prompt had no room for all shots", "examples"),
    Column(
        "exact_duplicates",
        pa.int64(),
        "test examples whose instruction stands in the training split, case and white space aside",
        "examples",
    ),
    Column(
        "near_duplicates",
        pa.int64(),
        "these, and those of cosine 0.95 or more to one by the embedding model; null where none compared them",
        "examples",
    ),
    Column(
        "load_seconds",
        pa.float64(),
        "loading the base model and the data; near 0 where an earlier trial had",
        "seconds",
    ),
    Column("retrieve_seconds", pa.float64(), "finding shots, embeddings included; null for random ones", "seconds"),
    Column("train_seconds", pa.float64(), "optimiser steps, evaluations not counted", "seconds"),
    Column("eval_seconds", pa.float64(), "evaluations on the validation split", "seconds"),
    Column("generate_seconds", pa.float64(), "decoding the test split", "seconds"),
    Column("test_seconds", pa.float64(), "waiting for tests after decoding, beside which they run", "seconds"),
    Column("score_seconds", pa.float64(), "computing the scores", "seconds"),
    Column("total_seconds", pa.float64(), "the whole trial", "seconds"),
    Column("train_tokens_per_second", pa.float64(), "training speed, padding not counted", "tokens per second"),
    Column("generate_examples_per_second", pa.float64(), "decoding speed", "examples per second"),
    Column("gpu_memory_gb", pa.float64(), "the trial's memory budget; null without a GPU", "GiB"),
    Column("predicted_peak_memory_gb", pa.float64(), "peak GPU memory of tensors as planning predicts it", "GiB"),
    Column("gradient_checkpointing_used", pa.bool_(), "whether activations were computed twice to hold fewer"),
    Column("peak_memory_allocated_gb", pa.float64(), "peak GPU memory held by tensors", "GiB"),
    Column("peak_memory_reserved_gb", pa.float64(), "peak GPU memory taken from the card by PyTorch", "GiB"),
    Column("micro_batch_size", pa.int64(), "examples in one forward and backward pass", "examples"),
    *(
        Column(f"{stage}_peak_memory_{kind}_gb", pa.float64(), f"peak GPU memory {what} in the stage {stage}", "GiB")
        for stage in ("load", "train", "generate")
        for kind, what in (("allocated", "held by tensors"), ("reserved", "taken from the card"))
    ),
    Column("device", pa.string(), "the GPU, or the CPU where there is none"),
    Column("device_memory_gb", pa.float64(), "memory of the whole card; null without a GPU", "GiB"),
    Column("threads", pa.int64(), "CPU threads that torch used", "threads"),
    Column("host", pa.string(), "name of the machine"),
    Column("started_at", pa.timestamp("us", tz="UTC"), "start of the trial"),
    Column("model_notes", pa.string(), "what loading the model had to decide or change"),
    Column("model_resolved_revision", pa.string(), "commit of the model on the hub, or hash of its local weights"),
    Column("dataset_resolved_revision", pa.string(), "hash of the splits as they were loaded"),
    Column(
        "embedding_resolved_revision",
        pa.string(),
        "what retrieved the shots: commit of its model on the hub or hash of its files, and libraries",
    ),
    Column("raypeft_version", pa.string(), "version of raypeft"),
    Column("git_commit", pa.string(), "commit of raypeft's checkout; null for an installed package"),
    Column("git_dirty", pa.bool_(), "whether the checkout had uncommitted changes"),
    Column("python_version", pa.string(), "version of Python"),
    Column("torch_version", pa.string(), "version of torch"),
    Column("transformers_version", pa.string(), "version of transformers"),
    Column("peft_version", pa.string(), "version of peft"),
]
CANDIDATES = [
    Column("id", pa.string(), "the trial's id"),
    Column("example_id", pa.string(), "the example's id in its dataset"),
    Column("rank", pa.int64(), "place among the example's candidates; 0 is the model's first choice"),
    Column("text", pa.string(), "the generated code, up to its stop"),
    Column("reference", pa.string(), "the dataset's answer"),
    Column("matches", pa.bool_(), "whether the text equals the reference, outer white space aside"),
    Column("token_count", pa.int64(), "generated tokens, the stopping token included", "tokens"),
    Column("stop_reason", pa.string(), "eos, stop (a stop string) or length (max_new_tokens)"),
    Column("log_probability", pa.float64(), "sum over its tokens, the stopping one included", "nats"),
    Column("prompt_tokens", pa.int64(), "length of the prompt, shots included", "tokens"),
    Column("shots", pa.list_(pa.string()), "ids of the training examples in the prompt, in its order"),
    Column("dropped_shots", pa.int64(), "shots that the prompt had no room for", "shots"),
]
EVALS = [
    Column("id", pa.string(), "the trial's id"),
    Column("step", pa.int64(), "optimiser step", "steps"),
    Column("epoch", pa.float64(), "passes over the training split so far", "epochs"),
    Column("train_loss", pa.float64(), "mean training loss since the evaluation before", "nats per answer token"),
    Column("eval_loss", pa.float64(), "loss on the validation split", "nats per answer token"),
    Column("learning_rate", pa.float64(), "learning rate of the step"),
    Column("seconds", pa.float64(), "since the start of training, evaluations included", "seconds"),
]
TESTS = [
    Column("id", pa.string(), "the trial's id"),
    Column("example_id", pa.string(), "the problem's id in its dataset"),
    Column("level", pa.string(), "how difficult the dataset says it is"),
    Column("rank", pa.int64(), "place among the problem's candidates, as in the table of candidates"),
    Column("test", pa.int64(), "number of the test, counted from 0"),
    Column("outcome", pa.string(), ", ".join(OUTCOMES)),
    Column("passed", pa.bool_(), "whether the output is right"),
    Column("passed_paper", pa.bool_(), "whether the reference program of APPS would say so"),
    Column("seconds", pa.float64(), "CPU time of the process in this test", "seconds"),
    Column("error", pa.string(), "how it ended, where not well"),
    Column("cached", pa.bool_(), "whether an equal program had been run on the same tests"),
]


def trial_columns() -> list[Column]:
    """The results' columns for the trial fields, typed and described from the fields themselves."""
    fields = trial_fields()
    order = ["model", "dataset", "tuning_method", "seed", *fields]
    fields["tuning_method"] = FieldInfo(annotation=str, description="how the model is specialised")
    return [
        Column(name, _arrow_type(fields[name].annotation), fields[name].description or "")
        for name in dict.fromkeys(order)
    ]


def _arrow_type(annotation: Any) -> pa.DataType:
    """The Arrow type of a field's Python type, a union with None or a Literal included."""
    options = [option for option in get_args(annotation) if option is not type(None)] or [annotation]
    if get_origin(annotation) is tuple or get_origin(options[0]) is tuple:
        return pa.list_(pa.string())
    kind = type(options[0]) if get_origin(annotation) is Literal else options[0]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kind]
