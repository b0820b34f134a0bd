"""The Parquet store: nothing lost, nothing half-written, one schema for every reader, on a disk and on S3."""

import shutil
import threading
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from raypeft.results.declarations import Declarations
from raypeft.results.manifest import Manifest
from raypeft.results.places import sweep_url
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.answer import CANDIDATES
from raypeft.trial.columns import tables

TABLES = tables()
SAMPLES = {
    pa.string(): "naïve\n`x`",
    pa.int64(): 2**40,
    pa.float64(): 0.1,
    pa.bool_(): True,
    pa.timestamp("us", tz="UTC"): datetime(2026, 3, 4, 5, 6, 7, 89, UTC),
    pa.list_(pa.string()): ["q_proj", "v_proj"],
}
"""A value of every type that a column may have."""


def sample_row(schema: pa.Schema, trial_id: str) -> dict[str, Any]:
    return {field.name: SAMPLES[field.type] for field in schema} | {"id": trial_id}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path / "study"), TABLES)


@pytest.fixture
def trials(store: ResultStore) -> str:
    """The folder of a table with three files: a full row, a row without scores, and a real trial's fields."""
    store.write_rows("trials", "a", [sample_row(store.schemas["trials"], "a")])
    store.write_rows("trials", "b", [{"id": "b", "status": "failed", "error": "why"}])
    fields = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", "target_modules": ["q"]}).fields
    store.write_rows("trials", "c", [{"id": "c", "status": "ok", "em_at_1": 0.25, **fields}])
    return f"{store.root}/trials"


def files_below(folder: Path | str) -> set[str]:
    """All files, without those that can be deleted at any time."""
    found = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".gathered/")}


@pytest.mark.parametrize("table", ["trials", "candidates", "evals"])
def test_every_column_comes_back_as_it_was_written(store: ResultStore, table: str) -> None:
    row = sample_row(store.schemas[table], "a")
    store.write_rows(table, "a", [row, row])
    assert store.read_rows(table) == [row, row]


def test_a_column_that_a_row_lacks_is_null(store: ResultStore) -> None:
    store.write_rows("trials", "a", [{"id": "a"}])
    (row,) = store.read_rows()
    assert row.pop("id") == "a" and row and set(row.values()) == {None}


def test_a_whole_number_fits_a_column_of_fractions(store: ResultStore) -> None:
    store.write_rows("trials", "a", [{"id": "a", "lora_alpha": 32}])
    assert store.read_rows()[0]["lora_alpha"] == 32.0


def test_a_table_without_rows_still_has_its_columns(store: ResultStore) -> None:
    store.write_rows("evals", "a", [])
    assert pq.read_schema(f"{store.root}/evals/a.parquet").names == [column.name for column in TABLES["evals"]]


def test_a_column_that_the_schema_lacks_is_refused_by_name(store: ResultStore) -> None:
    with pytest.raises(ValueError, match="trials rows must have the schema's columns but got colour, size as well"):
        store.write_rows("trials", "a", [{"id": "a"}, {"id": "a", "size": 1, "colour": "red"}])
    assert not files_below(store.root)


def test_every_column_of_every_table_is_described_in_the_file_itself(store: ResultStore) -> None:
    for table in store.schemas:
        store.write_rows(table, "a", [{"id": "a"}])
        for field in pq.read_schema(f"{store.root}/{table}/a.parquet"):
            assert field.metadata and field.metadata[b"description"], field.name


def test_every_measured_quantity_has_its_unit_in_the_file_itself(store: ResultStore) -> None:
    store.write_rows("trials", "a", [{"id": "a"}])
    schema = pq.read_schema(f"{store.root}/trials/a.parquet")
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
    for ending, unit in {
        "_seconds": "seconds",
        "_gb": "GiB",
        "_params": "parameters",
        "_per_second": " per second",
    }.items():
        measured = [name for name in units if name.endswith(ending)]
        assert measured and all(units[name].endswith(unit) for name in measured)
    assert {units[name] for name in units if name.startswith(("em_at_", "codebleu"))} == {"fraction"}


def test_the_row_of_one_trial_is_read_by_its_id(store: ResultStore, trials: str) -> None:
    assert [row["id"] for row in store.read_rows("trials", "b")] == ["b"]
    assert store.read_rows("trials", "nobody") == []


def test_only_trials_that_ran_to_a_finding_are_finished(store: ResultStore) -> None:
    for status in ("ok", "oom", "failed", "infeasible"):
        store.write_rows("trials", status, [{"id": status, "status": status}])
    assert store.finished() == {"ok", "oom"}


def test_opening_a_store_again_changes_nothing(store: ResultStore, trials: str) -> None:
    before = {name: (Path(store.root) / name).read_bytes() for name in files_below(store.root)}
    assert ResultStore(store.url, TABLES).upgrade() == []
    assert {name: (Path(store.root) / name).read_bytes() for name in files_below(store.root)} == before


def test_a_relative_folder_is_kept_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ResultStore("here", TABLES)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write_rows("trials", "a", [{"id": "a"}])
    assert (tmp_path / "here" / "trials" / "a.parquet").is_file()


def test_a_store_may_be_a_file_url(tmp_path: Path) -> None:
    ResultStore(f"file://{tmp_path}/study/", TABLES).write_rows("trials", "a", [{"id": "a"}])
    assert [row["id"] for row in ResultStore(str(tmp_path / "study"), TABLES).read_rows()] == ["a"]


def test_a_reader_never_sees_half_a_file(store: ResultStore) -> None:
    """Readers look at the folder again and again while another thread writes into it."""
    rows = [{"id": "t", "example_id": f"e{rank}", "rank": rank, "text": f"{rank}" * 99} for rank in range(2000)]
    store.write_rows("candidates", "first", rows)
    enough = threading.Event()
    written = 1

    def write() -> None:
        nonlocal written
        while not enough.is_set() or written < 9:
            store.write_rows("candidates", f"t{written}", rows)
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    folder = f"{store.root}/candidates"
    try:
        for _ in range(12):
            assert {path.suffix for path in Path(folder).iterdir()} == {".parquet"}
            assert pl.read_parquet(folder, columns=["rank"]).height % 2000 == 0
            assert len(pd.read_parquet(folder, columns=["rank"])) % 2000 == 0
    finally:
        enough.set()
        writer.join()
    assert len(store.read_rows("candidates")) == written * 2000


def test_no_temporary_file_is_left(store: ResultStore, trials: str, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").touch()
    store.write_folder("adapters/a", tmp_path / "adapter")
    assert files_below(store.root) == {"trials/a.parquet", "trials/b.parquet", "trials/c.parquet", "adapters/a/weights"}


def expected(trials: str) -> list[dict[str, Any]]:
    return [row for name in "abc" for row in pq.read_table(f"{trials}/{name}.parquet").to_pylist()]


def test_pandas_reads_the_folder_as_one_table(trials: str) -> None:
    table = pd.read_parquet(trials, dtype_backend="pyarrow").sort_values("id")
    rows = pa.Table.from_pandas(table, preserve_index=False).to_pylist()
    assert rows == expected(trials)
    plain = pd.read_parquet(trials)
    assert plain["em_at_1"].dtype == "float64" and str(plain["started_at"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize("pattern", ["", "/*.parquet"])
def test_polars_reads_the_folder_as_one_table(trials: str, pattern: str) -> None:
    table = pl.scan_parquet(trials + pattern).collect().sort("id")
    assert table.schema["target_modules"] == pl.List(pl.String)
    assert table.schema["started_at"] == pl.Datetime("us", "UTC")
    assert (table.schema["em_at_1"], table.schema["seed"], table.schema["git_dirty"]) == (
        pl.Float64,
        pl.Int64,
        pl.Boolean,
    )
    assert table.to_arrow().to_pylist() == expected(trials)


def test_duckdb_reads_the_folder_as_one_table(trials: str) -> None:
    with duckdb.connect() as database:
        found = database.sql(f"SET TimeZone='UTC'; SELECT * FROM '{trials}/*.parquet' ORDER BY id")
        types = dict(zip(found.columns, map(str, found.types), strict=True))
        rows = found.to_arrow_table().to_pylist()
    assert (types["em_at_1"], types["seed"], types["target_modules"]) == ("DOUBLE", "BIGINT", "VARCHAR[]")
    assert rows == expected(trials)


def make_old(store: ResultStore, table: str, name: str, change: Any) -> pa.Table:
    """Write `name` anew as code of another day would have, and return what it then holds."""
    path = f"{store.root}/{table}/{name}.parquet"
    old = change(pq.ParquetFile(path).read())
    pq.write_table(old, path)
    return old


def test_an_older_file_gets_the_columns_it_lacks_as_null(store: ResultStore, trials: str) -> None:
    make_old(store, "trials", "a", lambda table: table.drop_columns(["em_at_1", "seed"]))
    assert store.upgrade() == [f"{trials}/a.parquet"]
    found = pq.read_schema(f"{trials}/a.parquet")
    assert found.equals(store.schemas["trials"])
    assert found.field("em_at_1").metadata[b"unit"] == b"fraction"
    assert store.read_rows("trials", "a") == [
        sample_row(store.schemas["trials"], "a") | {"em_at_1": None, "seed": None}
    ]


def test_an_upgrade_needs_to_be_done_once_only(store: ResultStore, trials: str) -> None:
    make_old(store, "trials", "a", lambda table: table.drop_columns(["em_at_1"]))
    store.upgrade()
    assert store.upgrade() == []


def test_columns_in_another_order_or_type_are_settled_by_an_upgrade(store: ResultStore, trials: str) -> None:
    def change(table: pa.Table) -> pa.Table:
        fields = [field.with_type(pa.int32()) if field.name == "best_step" else field for field in table.schema]
        return table.set_column(table.column_names.index("best_step"), "best_step", pa.array([7], pa.int32())).select(
            [field.name for field in reversed(fields)]
        )

    make_old(store, "trials", "a", change)
    store.upgrade()
    assert pq.read_schema(f"{trials}/a.parquet").equals(store.schemas["trials"])
    assert store.read_rows("trials", "a")[0]["best_step"] == 7


def with_retired_column(table: pa.Table) -> pa.Table:
    return table.append_column("retired_score", pa.array([0.5]))


def test_a_column_that_today_lacks_is_kept_with_its_values(store: ResultStore, trials: str) -> None:
    old = make_old(store, "trials", "b", with_retired_column)
    store.upgrade()
    assert pq.read_table(f"{trials}/b.parquet").to_pylist() == old.to_pylist()


def test_readers_find_one_schema_where_an_older_file_has_a_column_more(store: ResultStore, trials: str) -> None:
    make_old(store, "trials", "b", with_retired_column)
    ResultStore(store.url, TABLES).upgrade()
    ResultStore(store.url, TABLES).write_rows("trials", "d", [{"id": "d"}])
    scores = pl.read_parquet(trials).sort("id")["retired_score"].to_list()
    assert scores == [None, 0.5, None, None]
    assert sorted(pd.read_parquet(trials)["retired_score"].dropna()) == [0.5]


def test_rows_of_files_not_yet_upgraded_have_every_column(store: ResultStore, trials: str) -> None:
    make_old(store, "trials", "b", lambda table: table.drop_columns(["em_at_1"]))
    assert {frozenset(row) for row in store.read_rows()} == {frozenset(store.schemas["trials"].names)}


def test_values_that_do_not_fit_todays_column_are_refused_and_left_alone(store: ResultStore, trials: str) -> None:
    place = store.schemas["trials"].get_field_index("steps")
    old = make_old(store, "trials", "b", lambda table: table.set_column(place, "steps", pa.array(["many"])))
    with pytest.raises(ValueError, match=r"trials/b\.parquet: must fit today's columns"):
        store.upgrade()
    assert pq.ParquetFile(f"{trials}/b.parquet").read().to_pylist() == old.to_pylist()


def test_a_damaged_file_is_named(store: ResultStore, trials: str) -> None:
    path = Path(trials) / "b.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert [row["id"] for row in store.read_rows()] == ["a", "c"]
    assert store.damaged[str(path)].startswith(f"{path}: must be a Parquet file but is damaged")


def test_what_a_rerun_replaces_is_set_aside_whole(store: ResultStore, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"w")
    for table in store.schemas:
        store.write_rows(table, "a", [{"id": "a"}])
        store.write_rows(table, "b", [{"id": "b"}])
    store.write_folder("adapters/a", tmp_path / "adapter")
    before = {name: (Path(store.root) / name).read_bytes() for name in files_below(store.root) if "/a" in name}
    store.set_aside("a")
    (aside,) = (Path(store.root) / "superseded").iterdir()
    assert {name: (aside / name).read_bytes() for name in files_below(aside)} == before
    assert files_below(store.root) - files_below(aside.parent) >= {f"{table}/b.parquet" for table in store.schemas}
    assert [row["id"] for row in store.read_rows()] == ["b"]


def test_parts_of_an_unfinished_table_are_kept_apart_from_it_until_they_are_dropped(store: ResultStore) -> None:
    row = sample_row(store.schemas["candidates"], "a")
    for number in (0, 1):
        store.write_part("candidates", "a", number, [row])
    assert store.read_rows("candidates") == []
    assert files_below(store.root) == {f"candidates.partial/a/{number:05}.parquet" for number in (0, 1)}
    assert len(pd.read_parquet(f"{store.root}/candidates.partial/a")) == 2
    store.drop_parts("candidates", "a")
    assert files_below(store.root) == set()
    store.drop_parts("candidates", "a")


def test_parts_that_a_killed_trial_left_are_read_again_or_set_aside_and_not_lost(store: ResultStore) -> None:
    row = sample_row(store.schemas["candidates"], "a")
    for number in (10, 2):
        store.write_part("candidates", "a", number, [row | {"rank": number}])
    store.set_aside("a")
    assert [[each["rank"] for each in part] for part in store.read_parts("candidates", "a")] == [[2], [10]]
    store.set_aside_parts("candidates", "a")
    left, _ = sorted(files_below(store.root))
    assert left.startswith("superseded/")
    assert left.endswith("candidates.partial/a/00002.parquet")


def test_reruns_in_the_same_second_overwrite_nothing(store: ResultStore) -> None:
    for number in range(5):
        store.write_rows("trials", "a", [{"id": "a", "seed": number}])
        store.set_aside("a")
    asides = sorted((Path(store.root) / "superseded").rglob("a.parquet"))
    assert [pq.ParquetFile(path).read()["seed"].to_pylist() for path in asides] == [[0], [1], [2], [3], [4]]


def test_setting_aside_a_trial_without_files_does_nothing(store: ResultStore) -> None:
    store.set_aside("nobody")
    assert not (Path(store.root) / "superseded").exists()


def test_a_folder_is_stored_whole_and_replaces_the_one_before(store: ResultStore, tmp_path: Path) -> None:
    for number, names in enumerate((["old", "both"], ["new", "both", "deep/file"])):
        for name in names:
            file = tmp_path / f"adapter{number}" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(str(number))
        store.write_folder("adapters/a", tmp_path / f"adapter{number}")
    stored = Path(store.root) / "adapters" / "a"
    assert files_below(stored) == {"new", "both", "deep/file"}
    assert (stored / "both").read_text() == "1"


@pytest.mark.parametrize(
    ("results", "url"),
    [
        ("results", "results/rq2"),
        ("/data/results/", "/data/results/rq2"),
        ("odd?name", "odd?name/rq2"),
        ("s3://bucket/study/", "s3://bucket/study/rq2"),
        ("s3://bucket/study?region=eu-west-1", "s3://bucket/study/rq2?region=eu-west-1"),
    ],
)
def test_a_sweeps_folder_goes_before_the_query_of_a_url(results: str, url: str) -> None:
    assert sweep_url(results, "rq2") == url


def test_a_checkpoint_on_s3_is_written_whole_and_read_again(bucket: str) -> None:
    torch = pytest.importorskip("torch")
    store = ResultStore(bucket, tables())
    weights = torch.rand(3_000_000)
    for state in ({"step": 1}, {"step": 2, "weights": weights}):
        with store.writing("checkpoints/a/training.pt") as stream:
            torch.save(state, stream)
    with store.reading("checkpoints/a/training.pt") as stream:
        read = torch.load(stream, map_location="cpu", weights_only=True)
    assert read["step"] == 2 and torch.equal(read["weights"], weights)
    assert store.names("checkpoints/a") == ["checkpoints/a/training.pt"]
    store.remove_folder("checkpoints/a")
    assert not store.exists("checkpoints/a/training.pt")
    assert keys(store) == set()


def test_checkpoints_and_folders_go_to_s3_without_a_copy_there_which_it_refuses_beyond_5_gb(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.s3.models import S3Backend

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("The specified copy source is larger than the maximum allowable size")

    store = ResultStore(sweep_url(bucket, "large"), TABLES)
    monkeypatch.setattr(S3Backend, "copy_object", refused)
    with store.writing("checkpoints/a/training.pt") as stream:
        stream.write(b"weights")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    store.write_folder("models/a", tmp_path)
    assert keys(store) == {"checkpoints/a/training.pt", "models/a/model.safetensors"}


def test_of_a_file_that_fails_half_way_nothing_comes_to_s3_and_the_old_one_stays(bucket: str) -> None:
    store = ResultStore(sweep_url(bucket, "halves"), TABLES)
    store.put("checkpoints/a/training.pt", b"old")
    with pytest.raises(RuntimeError), store.writing("checkpoints/a/training.pt") as stream:
        stream.write(b"half")
        raise RuntimeError("no space left")
    assert keys(store) == {"checkpoints/a/training.pt"}
    assert store.read_bytes("checkpoints/a/training.pt") == b"old"


def keys(store: ResultStore) -> set[str]:
    """The files of a store on S3, relative to it."""
    found = store.filesystem.get_file_info(pa.fs.FileSelector(store.root, recursive=True))
    names = {info.path.removeprefix(f"{store.root}/") for info in found if info.type == pa.fs.FileType.File}
    return {name for name in names if not name.startswith(".gathered/")}


def test_rows_come_back_from_s3_as_they_were_written(bucket: str) -> None:
    store = ResultStore(sweep_url(bucket, "rows"), TABLES)
    rows = {name: sample_row(store.schemas["trials"], name) | {"status": "ok"} for name in ("a", "b")}
    for name, row in rows.items():
        store.write_rows("trials", name, [row])
    other = ResultStore(sweep_url(bucket, "rows"), TABLES)
    assert other.read_rows() == list(rows.values())
    assert other.read_rows("trials", "b") == [rows["b"]]
    assert other.finished() == {"a", "b"}
    assert keys(store) == {"trials/a.parquet", "trials/b.parquet"}


def test_a_manifest_on_s3_is_replaced_whole(bucket: str) -> None:
    store = ResultStore(sweep_url(bucket, "manifests"), TABLES)
    for name in ("first", "second"):
        store.write_manifest(Manifest(Declarations(), {}, sweep={"name": name}))
    found = ResultStore(sweep_url(bucket, "manifests"), {}, make=False).read_manifest()
    assert found is not None and found.sweep == {"name": "second"}
    assert keys(store) == {"manifest.json"}


def test_a_folder_is_stored_on_s3_and_replaces_the_one_before(bucket: str, tmp_path: Path) -> None:
    store = ResultStore(sweep_url(bucket, "folders"), TABLES)
    (tmp_path / "deep").mkdir()
    for name in ("old", "both", "deep/file"):
        (tmp_path / name).write_text(name)
    store.write_folder("adapters/a", tmp_path)
    (tmp_path / "old").unlink()
    store.write_folder("adapters/a", tmp_path)
    assert keys(store) == {"adapters/a/both", "adapters/a/deep/file"}


def test_what_a_rerun_replaces_is_set_aside_on_s3_too(bucket: str, tmp_path: Path) -> None:
    store = ResultStore(sweep_url(bucket, "reruns"), TABLES)
    (tmp_path / "weights").write_bytes(b"w")
    store.write_rows("trials", "a", [{"id": "a"}])
    store.write_rows("evals", "a", [{"id": "a"}])
    store.write_folder("adapters/a", tmp_path)
    store.set_aside("a")
    found = {key.split("/", 2)[2] for key in keys(store) if key.startswith("superseded/")}
    assert found == {"trials/a.parquet", "evals/a.parquet", "adapters/a/weights"} and len(keys(store)) == 3
    assert store.read_rows() == []


def test_an_older_file_on_s3_is_upgraded(bucket: str) -> None:
    store = ResultStore(sweep_url(bucket, "older"), TABLES)
    store.write_rows("candidates", "a", [{"id": "a", "text": "x"}])
    path = f"{store.root}/candidates/a.parquet"
    with store.filesystem.open_input_file(path) as stream:
        old = pq.read_table(stream).drop_columns(["rank"])
    with store.filesystem.open_output_stream(path) as stream:
        pq.write_table(old, stream)
    assert store.upgrade() == [path]
    assert store.read_rows("candidates") == [
        dict.fromkeys(column.name for column in CANDIDATES) | {"id": "a", "text": "x"}
    ]


def test_opening_what_is_not_there_is_refused_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a sweep's folder but holds no trials/"):
        ResultStore.existing(str(tmp_path / "mistyped"), TABLES)
    assert list(tmp_path.iterdir()) == []


def test_tables_that_lie_in_the_folder_itself_are_told_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "trials.parquet").touch()
    with pytest.raises(FileNotFoundError, match=r"move trials\.parquet to trials/all\.parquet, and other"):
        ResultStore.existing(str(tmp_path), TABLES)


def test_opening_what_is_not_there_on_s3_is_refused_and_makes_no_folder(bucket: str) -> None:
    url = sweep_url(bucket, "mistyped")
    for _ in range(2):  # the first look must not make what the second would find
        with pytest.raises(FileNotFoundError, match="holds no trials/"):
            ResultStore.existing(url, TABLES)


def test_what_a_sweep_has_made_on_s3_is_opened(bucket: str) -> None:
    url = sweep_url(bucket, "made")
    ResultStore(url, TABLES).write_rows("trials", "a", [{"id": "a", "status": "ok"}])
    assert ResultStore.existing(url, TABLES).finished() == {"a"}


@pytest.mark.parametrize("place", ["file:///tmp/r#1", "file:///tmp/a b", "nowhere://x"])
def test_a_url_that_would_not_be_read_whole_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="results must be a folder"):
        ResultStore(place, {})


def test_a_file_with_a_damaged_page_is_named(store: ResultStore, trials: str) -> None:
    path = Path(trials) / "b.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    assert [row["id"] for row in store.read_rows()] == ["a", "c"]
    assert store.damaged[str(path)].startswith(f"{path}: must be a Parquet file but is damaged")


@pytest.mark.parametrize("content", [b"", b"PAR1", bytes(range(256)) * 9])
def test_a_file_that_is_no_parquet_blocks_neither_a_reader_nor_the_upgrade(
    store: ResultStore, trials: str, content: bytes
) -> None:
    (Path(trials) / "0.parquet").write_bytes(content)
    again = ResultStore(store.url, TABLES)
    assert again.upgrade() == []
    assert [row["id"] for row in again.read_rows()] == ["a", "b", "c"]
    assert [Path(path).name for path in again.damaged] == ["0.parquet"]


def test_hidden_files_are_not_results(store: ResultStore, trials: str) -> None:
    (Path(trials) / "._a.parquet").write_bytes(b"of a file manager")
    assert len(store.read_rows()) == 3 and not store.damaged


def test_a_store_on_s3_that_was_away_for_a_moment_is_written_to(bucket: str) -> None:
    """The server refuses connections when a row is written, and comes back two seconds later."""
    from moto.server import ThreadedMotoServer

    away = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    away.start()
    host, other = away.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{other}/bucket2", method="PUT")).close()
    late = ResultStore(f"s3://bucket2/away?scheme=http&endpoint_override={host}:{other}", TABLES)
    away.stop()
    back = ThreadedMotoServer(ip_address="127.0.0.1", port=other, verbose=False)
    timer = threading.Timer(2, back.start)
    timer.start()
    try:
        late.write_rows("trials", "a", [{"id": "a"}])
        assert [row["id"] for row in late.read_rows()] == ["a"]
    finally:
        timer.join()
        back.stop()


def test_the_files_of_a_store_that_is_away_are_not_taken_for_damaged(
    store: ResultStore, trials: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, calls = store._fetch, []

    def away_at_first(path: str) -> pa.Buffer:
        calls.append(path)
        if len(calls) < 3:
            raise OSError("When reading information: AWS Error NETWORK_CONNECTION")
        return fetch(path)

    monkeypatch.setattr(store, "is_local", False)  # as an object store's files are read
    monkeypatch.setattr(store, "_fetch", away_at_first)
    monkeypatch.setattr("raypeft.results.places.time.sleep", lambda _: None)
    assert len(store.read_rows("trials", "a")) == 1
    assert len(calls) == 3 and not store.damaged


def test_a_file_that_could_not_be_written_leaves_nothing(store: ResultStore, trials: str, tmp_path: Path) -> None:
    before = files_below(store.root)
    with pytest.raises(RuntimeError), store.writing("trials/d.parquet") as stream:
        stream.write(b"half")
        raise RuntimeError("no space left")
    with pytest.raises(OSError):
        store.write_folder("adapters/a", tmp_path / "nowhere")
    assert files_below(store.root) == before
    assert list((Path(store.root) / ".tmp").iterdir()) == []


def test_a_folder_that_was_deleted_is_made_again(store: ResultStore, trials: str) -> None:
    shutil.rmtree(store.root)
    with pytest.raises(FileNotFoundError):
        store.write_rows("trials", "d", [{"id": "d"}])
    store.write_rows("trials", "d", [{"id": "d"}])
    assert [row["id"] for row in store.read_rows()] == ["d"]


def test_to_open_a_folder_no_other_file_than_the_first_of_a_table_is_looked_at(
    trials: str, store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [info.path for info in store.infos("trials")]
    assert store.first("trials") == seen[:1]
    monkeypatch.setattr(ResultStore, "infos", lambda self, table: pytest.fail("all files were looked at"))
    assert ResultStore.existing(store.root, TABLES).schemas == store.schemas


def test_a_table_without_files_has_no_first_one(store: ResultStore) -> None:
    (Path(store.root) / "trials" / ".hidden.parquet").write_bytes(b"")
    assert store.first("trials") == store.first("no such table") == []


@pytest.mark.parametrize("fewest", [100, 2])
def test_a_trials_own_file_counts_and_not_its_rows_in_the_file_of_all_trials(tmp_path, monkeypatch, fewest):
    monkeypatch.setattr("raypeft.results.gathered.FEWEST", fewest)
    store = ResultStore(str(tmp_path), tables())
    store.write_rows("trials", "all", [{"id": trial, "status": "lost"} for trial in ("1a", "f1", "ff")])
    store.write_rows("candidates", "all", [{"id": trial, "text": "old"} for trial in ("1a", "1a", "f1", "ff")])
    for trial in ("1a", "f1"):
        store.write_rows("trials", trial, [{"id": trial, "status": "ok"}])
        store.write_rows("candidates", trial, [{"id": trial, "text": "new"}])
    for _ in range(2):  # read, and as they were kept together
        assert store.statuses() == {"1a": "ok", "f1": "ok", "ff": "lost"}
        assert sorted(row["id"] for row in store.read_rows()) == ["1a", "f1", "ff"]
        of_trial = store.by_trial("candidates")
        assert [[row["text"] for row in of_trial(trial)] for trial in ("1a", "f1", "ff")] == [["new"], ["new"], ["old"]]
    assert look_at(store).to_run(["1a", "f1", "ff"]) == ["ff"]
