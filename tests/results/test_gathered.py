"""The rows of many files, kept together, and noted as they are written."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_folders import made_row, store_at

from raypeft.results.gathered import rows_of
from raypeft.results.store import ResultStore

TIME = pa.timestamp("us", tz="UTC")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultStore:
    """A folder of four trials, which count as many."""
    monkeypatch.setattr("raypeft.results.gathered.FEWEST", 3)
    made = store_at(tmp_path)
    for seed in (1, 2, 3, 4):
        row = made_row([True], seed=seed)
        made.write_rows("trials", row["id"], [row])
    return made


def kept(store: ResultStore) -> Path:
    return Path(store.root) / ".gathered" / "trials.parquet"


def test_the_rows_are_those_that_the_store_reads(store: ResultStore) -> None:
    plain = [row for path in sorted((Path(store.root) / "trials").iterdir()) for row in pq.read_table(path).to_pylist()]
    for _ in range(2):
        assert store.read_rows() == plain
    assert kept(store).exists()


def test_times_come_back_without_pandas_which_takes_long_to_import(tmp_path: Path) -> None:
    table = pa.table({"started_at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 678, UTC), None], TIME)})
    pq.write_table(table, tmp_path / "times.parquet")
    program = (
        "import sys, pyarrow.parquet as pq; from raypeft.results.gathered import rows_of; "
        f"rows = rows_of(pq.ParquetFile({str(tmp_path / 'times.parquet')!r}).read(), ['started_at']); "
        "print([str(row['started_at']) for row in rows], 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['2026-01-02 03:04:05.000678+00:00', 'None'] False", done.stderr


@pytest.mark.parametrize("values", [[None, None], ["a", None]])
def test_rows_have_all_columns_asked_for_with_none_where_a_column_is_empty_or_missing(values: list[str | None]) -> None:
    table = pa.table({"id": pa.array(values, pa.string()), "seed": pa.array([None, None], pa.int64())})
    expected = [{"seed": None, "id": value, "more": None} for value in values]
    assert [list(row.items()) for row in rows_of(table, ["seed", "id", "more"])] == [
        list(row.items()) for row in expected
    ]


def test_rows_that_are_kept_are_read_without_arrows_functions_which_take_long_to_import(store: ResultStore) -> None:
    store.read_rows()
    program = (
        "import sys; from raypeft.results.store import ResultStore; from raypeft.trial.columns import tables; "
        f"rows = ResultStore.existing({store.root!r}, tables()).read_rows(); "
        "print(len(rows), 'pyarrow.compute' in sys.modules)"
    )
    program = f"import raypeft.results.gathered as gathered; gathered.FEWEST = 3; {program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "4 False", done.stderr


def test_only_new_and_changed_files_are_read_again(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.read_rows()
    changed = {**first[0], "em_at_10": 0.25}
    store.write_rows("trials", changed["id"], [changed])
    Path(store.root, ".gathered/new/trials", f"{changed['id']}.json").unlink()
    read = files_read(store, monkeypatch)
    assert store.read_rows()[0]["em_at_10"] == 0.25
    assert sorted(read) == sorted(["trials", changed["id"]])


def test_a_trial_that_was_set_aside_is_gone(store: ResultStore) -> None:
    first = store.read_rows()
    store.set_aside(first[0]["id"])
    assert store.read_rows() == first[1:]


def test_files_of_another_version_keep_their_columns(store: ResultStore) -> None:
    path = sorted((Path(store.root) / "trials").iterdir())[1]
    table = pq.read_table(path).select(["id", "status"])
    pq.write_table(table.append_column("novelty", [["new"]]), path)
    rows = store.read_rows()
    assert rows[1]["novelty"] == "new" and rows[1]["seed"] is None and rows[0]["seed"] is not None


def test_kept_rows_that_are_damaged_are_read_anew(store: ResultStore) -> None:
    first = store.read_rows()
    kept(store).write_bytes(b"nothing")
    assert store.read_rows() == first
    assert kept(store).read_bytes() != b"nothing"


def test_a_damaged_trial_is_named_and_left_out(store: ResultStore) -> None:
    path = sorted((Path(store.root) / "trials").iterdir())[2]
    path.write_bytes(b"nothing")
    for _ in range(2):
        store.damaged.clear()
        assert len(store.read_rows()) == 3
        assert "must be a Parquet file but is damaged" in store.damaged[str(path)]


def files_read(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the Parquet files that are read from now on."""
    read: list[str] = []
    plain = store.read_file
    monkeypatch.setattr(store, "read_file", lambda path: read.append(Path(path).stem) or plain(path))
    return read


def test_rows_are_read_from_notes_which_are_then_gone(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Path(store.root) / ".gathered" / "new" / "trials"
    assert len(list(notes.iterdir())) == 4
    read = files_read(store, monkeypatch)
    assert len(store.read_rows()) == 4
    assert read == ["trials"], "only the kept file, which is not there yet"
    assert list(notes.iterdir()) == []


def test_every_kind_of_value_comes_back_from_a_note_as_from_its_file(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"em_at_1": float("nan"), "em_at_10": float("-inf"), "error": "naïve\n", "target_modules": ["q"],
           "best_step": 2**62, "started_at": datetime(2026, 3, 4, 5, 6, 7, 89, UTC), "git_dirty": True}  # fmt: skip
    store.write_rows("trials", "odd", [{"id": "odd", **odd}])
    (plain,) = store.read_rows("trials", "odd")
    assert files_read(store, monkeypatch) == []
    (noted,) = (row for row in store.read_rows() if row["id"] == "odd")
    assert repr(noted) == repr(plain)


def test_a_note_of_a_file_that_was_changed_since_does_not_count(store: ResultStore) -> None:
    path = sorted((Path(store.root) / "trials").iterdir())[0]
    table = pq.read_table(path)
    place = table.schema.get_field_index("em_at_10")
    pq.write_table(table.set_column(place, "em_at_10", pa.array([0.125])), path)
    assert store.read_rows()[0]["em_at_10"] == 0.125


def test_files_without_rows_are_not_read_again(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        store.write_rows("evals", name, [])
    assert store.read_rows("evals") == []
    read = files_read(store, monkeypatch)
    assert store.read_rows("evals") == [] and read == ["evals"]


def test_a_trial_with_rows_is_read_beside_files_that_all_have_none(store: ResultStore) -> None:
    for name in "abcd":
        store.write_rows("evals", name, [])
    assert store.read_rows("evals") == []
    store.write_rows("evals", "e", [{"id": "e", "step": 1}])
    assert [row["step"] for row in store.read_rows("evals")] == [1]


def test_the_rows_of_one_trial_are_found_among_all(store: ResultStore) -> None:
    for name in ("b", "a", "c"):
        store.write_rows("evals", name, [{"id": name, "step": step} for step in (2, 1)])
    rows = store.by_trial("evals")
    assert [row["step"] for row in rows("a")] == [2, 1] and rows("nobody") == []
    assert rows("b") == store.read_rows("evals", "b")


def test_few_files_are_not_kept(tmp_path: Path) -> None:
    made = store_at(tmp_path)
    row = made_row([True])
    made.write_rows("trials", row["id"], [row])
    assert len(made.read_rows()) == 1 and not kept(made).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_read_all_the_same(store: ResultStore) -> None:
    Path(store.root).chmod(0o500)
    assert len(store.read_rows()) == 4
