"""The rows of many files, kept together."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from report_folders import made_row, store_at

from raypeft.results import gathered
from raypeft.results.gathered import gathered_rows
from raypeft.results.store import ResultStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultStore:
    """A folder of four trials, which count as many."""
    monkeypatch.setattr(gathered, "FEWEST", 3)
    made = store_at(tmp_path)
    for seed in (1, 2, 3, 4):
        row = made_row([True], seed=seed)
        made.write_rows("trials", row["id"], [row])
    return made


def kept(store: ResultStore) -> Path:
    return Path(store.root) / ".gathered" / "trials.parquet"


def test_the_rows_are_those_that_the_store_reads(store: ResultStore) -> None:
    for _ in range(2):
        assert gathered_rows(store, "trials") == store.read_rows()
    assert kept(store).exists()


def test_only_new_and_changed_files_are_read_again(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = gathered_rows(store, "trials")
    changed = {**first[0], "em_at_10": 0.25}
    store.write_rows("trials", changed["id"], [changed])
    read: list[str] = []
    plain = store.read_file
    monkeypatch.setattr(store, "read_file", lambda path: read.append(Path(path).stem) or plain(path))
    assert gathered_rows(store, "trials")[0]["em_at_10"] == 0.25
    assert sorted(read) == sorted(["trials", changed["id"]])


def test_a_trial_that_was_set_aside_is_gone(store: ResultStore) -> None:
    first = gathered_rows(store, "trials")
    store.set_aside(first[0]["id"])
    assert gathered_rows(store, "trials") == first[1:]


def test_files_of_another_version_keep_their_columns(store: ResultStore) -> None:
    path = sorted((Path(store.root) / "trials").iterdir())[1]
    table = pq.read_table(path).select(["id", "status"])
    pq.write_table(table.append_column("novelty", [["new"]]), path)
    rows = gathered_rows(store, "trials")
    assert rows[1]["novelty"] == "new" and rows[1]["seed"] is None and rows[0]["seed"] is not None


def test_kept_rows_that_are_damaged_are_read_anew(store: ResultStore) -> None:
    gathered_rows(store, "trials")
    kept(store).write_bytes(b"nothing")
    assert gathered_rows(store, "trials") == store.read_rows()


def test_a_damaged_trial_is_named(store: ResultStore) -> None:
    path = sorted((Path(store.root) / "trials").iterdir())[2]
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=f"{path.name}: must be a Parquet file but is damaged"):
        gathered_rows(store, "trials")


def test_few_files_are_not_kept(tmp_path: Path) -> None:
    made = store_at(tmp_path)
    row = made_row([True])
    made.write_rows("trials", row["id"], [row])
    assert gathered_rows(made, "trials") == made.read_rows() and not kept(made).exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_read_all_the_same(store: ResultStore) -> None:
    Path(store.root).chmod(0o500)
    assert gathered_rows(store, "trials") == store.read_rows()
