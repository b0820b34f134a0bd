"""The Parquet store: results/<sweep>/{trials,candidates,evals}/<trial id>.parquet and adapters/<trial id>/.

    store = ResultStore("results/rq2", trial_columns)
    store.write_rows("trials", trial_id, [row])
    pandas.read_parquet("results/rq2/trials")

The folder may be local or a URL that pyarrow knows (s3://, gs://). One file a trial, written in `.tmp/` and moved, so
that a reader never sees half a file. Every file of a table has the same typed schema; `upgrade` brings files of other
code up to it. Nothing is ever deleted: what a rerun replaces goes to `superseded/`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

FINISHED = ("ok", "oom", "generated")
"""A trial with such a status is never run again: running out of memory is a finding, too, and what was generated only
needs its scores."""


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
    Column("best_eval_loss", pa.float64(), "lowest loss on the validation split", "nats per answer token"),
    Column("best_step", pa.int64(), "optimiser step of the lowest validation loss", "steps"),
    Column("steps", pa.int64(), "optimiser steps", "steps"),
    Column("trainable_params", pa.int64(), "parameters that the method trains", "parameters"),
    Column("total_params", pa.int64(), "parameters of base and adapter, unquantised", "parameters"),
    Column("train_examples", pa.int64(), "examples of the training split that were used", "examples"),
    Column("validation_examples", pa.int64(), "examples of the validation split that were used", "examples"),
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


class ResultStore:
    """The tables of one sweep. Opening it makes the folders; no state is kept."""

    def __init__(self, url: str, trial_columns: Sequence[Column]) -> None:
        """`trial_columns` are the trial's own fields; what is measured follows them.

        Raises OSError (from pyarrow) where the folder cannot be made.
        """
        self.url = url
        self.filesystem, self.root = _open(url)
        own = [Column("id", pa.string(), "hash of the fields below"), Column("sweep", pa.string(), "the sweep's name")]
        self.schemas = {
            "trials": pa.schema([column.field() for column in (*own, *trial_columns, *MEASURED)]),
            "candidates": pa.schema([column.field() for column in CANDIDATES]),
            "evals": pa.schema([column.field() for column in EVALS]),
        }
        for table in (*self.schemas, ".tmp"):
            self.filesystem.create_dir(f"{self.root}/{table}", recursive=True)
        for table in self.schemas:
            self._adopt_columns(table, self._files(table)[:1])

    @classmethod
    def existing(cls, url: str, trial_columns: Sequence[Column], table: str = "trials") -> ResultStore:
        """Open what a sweep has made. Raises FileNotFoundError, and makes no folder, where `url` holds no `table`."""
        filesystem, root = _open(url)
        if filesystem.get_file_info(f"{root}/{table}").type == pa.fs.FileType.NotFound:
            raise FileNotFoundError(f"{url} must be a sweep's folder but holds no {table}/")
        return cls(url, trial_columns)

    def write_rows(self, table: str, trial_id: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a trial's file of `table` in one step. Raises ValueError for a key that the schema does not know."""
        rows = list(rows)
        schema = self.schemas[table]
        unknown = sorted({key for row in rows for key in row} - set(schema.names))
        if unknown:
            raise ValueError(f"{table} rows must have the schema's columns but got {', '.join(unknown)} as well")
        self._write(pa.Table.from_pylist(rows, schema=schema), table, trial_id)

    def write_part(self, table: str, trial_id: str, number: int, rows: Iterable[dict[str, Any]]) -> None:
        """Keep rows of a trial that is not done yet, as `<table>.partial/<trial id>/<number>.parquet`."""
        folder = f"{table}.partial/{trial_id}"
        self.filesystem.create_dir(f"{self.root}/{folder}", recursive=True)
        self._write(pa.Table.from_pylist(list(rows), schema=self.schemas[table]), folder, f"{number:05}")

    def drop_parts(self, table: str, trial_id: str) -> None:
        """Remove a trial's parts, once `write_rows` has written them whole."""
        folder = f"{self.root}/{table}.partial/{trial_id}"
        if self.filesystem.get_file_info(folder).type != pa.fs.FileType.NotFound:
            self.filesystem.delete_dir(folder)

    def read_rows(self, table: str = "trials", trial_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of every trial, or of one; in the order of the files' names. Each has every column of the table."""
        rows: list[dict[str, Any]] = []
        blank = dict.fromkeys(self.schemas[table].names)
        for path in self._files(table):
            if trial_id is None or Path(path).stem == trial_id:
                rows.extend(blank | row for row in self._read(path).to_pylist())
        return rows

    def finished(self) -> set[str]:
        """Ids of the trials that need not run again."""
        return {row["id"] for row in self.read_rows() if row["status"] in FINISHED}

    def set_aside(self, trial_id: str) -> None:
        """Move a trial's files to `superseded/<time>/`, so that a rerun overwrites nothing."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        files = [f"{table}/{trial_id}.parquet" for table in self.schemas]
        for path in (*files, f"adapters/{trial_id}", f"candidates.partial/{trial_id}"):
            if self.filesystem.get_file_info(f"{self.root}/{path}").type != pa.fs.FileType.NotFound:
                target = f"{self.root}/superseded/{stamp}/{path}"
                self.filesystem.create_dir(target.rpartition("/")[0], recursive=True)
                self._move(f"{self.root}/{path}", target)

    def write_folder(self, name: str, source: Path) -> None:
        """Copy a local folder (an adapter) into the store as `name`; it appears whole or not at all on a local disk."""
        temporary = f"{self.root}/.tmp/{uuid.uuid4().hex}"
        self.filesystem.create_dir(temporary, recursive=True)
        pa.fs.copy_files(str(source), temporary, destination_filesystem=self.filesystem)
        final = f"{self.root}/{name}"
        if self.filesystem.get_file_info(final).type != pa.fs.FileType.NotFound:
            self.filesystem.delete_dir(final)
        self.filesystem.create_dir(final.rpartition("/")[0], recursive=True)
        self._move(temporary, final)

    def upgrade(self) -> list[str]:
        """Rewrite files of other code with today's schema, missing columns null; returns the paths that changed.

        A column that today's schema lacks is kept, behind the others and in every file: nothing is lost, and readers
        still find one schema. Raises ValueError naming a file that is damaged or whose values do not fit.
        """
        changed = []
        for table in self.schemas:
            paths = self._files(table)
            self._adopt_columns(table, paths)
            schema = self.schemas[table]
            for path in paths:
                if self._read_schema(path).equals(schema, check_metadata=False):
                    continue
                found = self._read(path)
                try:
                    columns = [
                        found.column(field.name).cast(field.type)
                        if field.name in found.column_names
                        else pa.nulls(len(found), field.type)
                        for field in schema
                    ]
                except pa.ArrowInvalid as error:
                    raise ValueError(
                        f"{path}: must fit today's columns but does not ({error}); move it away"
                    ) from error
                self._write(pa.Table.from_arrays(columns, schema=schema), table, Path(path).stem)
                changed.append(path)
        return changed

    def _adopt_columns(self, table: str, paths: Iterable[str]) -> None:
        """Put columns that only files of other code have behind today's, so that all files keep one schema."""
        for path in paths:
            schema = self.schemas[table]
            for field in self._read_schema(path):
                if field.name not in schema.names:
                    self.schemas[table] = self.schemas[table].append(field)

    def _read(self, path: str) -> pa.Table:
        with self._open_parquet(path) as stream:
            return pq.read_table(stream)

    def _read_schema(self, path: str) -> pa.Schema:
        with self._open_parquet(path) as stream:
            return pq.read_schema(stream)

    @contextmanager
    def _open_parquet(self, path: str) -> Iterator[pa.NativeFile]:
        try:
            with self.filesystem.open_input_file(path) as stream:
                yield stream
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: must be a Parquet file but is damaged ({error}); move it away") from error

    def _files(self, table: str) -> list[str]:
        selector = pa.fs.FileSelector(f"{self.root}/{table}", allow_not_found=True)
        return sorted(info.path for info in self.filesystem.get_file_info(selector) if info.path.endswith(".parquet"))

    def _write(self, data: pa.Table, table: str, trial_id: str) -> None:
        final = f"{self.root}/{table}/{trial_id}.parquet"
        # Not in the table's own folder: Polars refuses a folder that holds anything else than Parquet.
        temporary = f"{self.root}/.tmp/{uuid.uuid4().hex}"
        with self.filesystem.open_output_stream(temporary) as stream:
            pq.write_table(data, stream, compression="zstd")
        self.filesystem.move(temporary, final)

    def _move(self, path: str, target: str) -> None:
        """Move a file or folder; an object store has no folders to move, so there their files are copied."""
        local = isinstance(self.filesystem, pa.fs.LocalFileSystem)
        if local or self.filesystem.get_file_info(path).type == pa.fs.FileType.File:
            self.filesystem.move(path, target)
        else:
            pa.fs.copy_files(path, target, source_filesystem=self.filesystem, destination_filesystem=self.filesystem)
            self.filesystem.delete_dir(path)


def sweep_url(results: str, sweep: str) -> str:
    """A sweep's folder in `results`; the query of a URL (s3://bucket/study?region=eu-west-1) stays at its end."""
    folder, mark, query = results.partition("?") if "://" in results else (results, "", "")
    return f"{folder.rstrip('/')}/{sweep}{mark}{query}"


def _open(url: str) -> tuple[pa.fs.FileSystem, str]:
    if "://" in url:
        filesystem, root = pa.fs.FileSystem.from_uri(url)
        return filesystem, root.rstrip("/")
    return pa.fs.LocalFileSystem(), str(Path(url).expanduser().absolute())
