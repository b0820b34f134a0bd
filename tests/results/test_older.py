"""Which files of a large folder are looked into before a sweep, and what becomes of those of other versions."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raypeft.records import Column
from raypeft.results.store import ResultStore

OLD = {"trials": [Column("id", str, "Id"), Column("status", str, "How it ended")]}
NEW = {"trials": [*OLD["trials"], Column("loss", float, "A loss")]}


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypeft.results.older.FEWEST", 3)


def filled(folder: Path, tables: dict[str, list[Column]], names: str) -> ResultStore:
    store = ResultStore(str(folder), tables)
    for name in names:
        store.write_rows("trials", name, [{"id": name, "status": "ok"}])
    return store


def looked_into(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose schema is read from now on."""
    read: list[str] = []
    plain = store.read_schema
    monkeypatch.setattr(store, "read_schema", lambda path: read.append(Path(path).stem) or plain(path))
    return read


def test_of_files_with_the_same_schema_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, NEW, "abcd")
    read = looked_into(store, monkeypatch)
    assert store.upgrade() == []
    assert read == ["a"]


def test_files_that_were_in_order_are_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path, NEW, "abcd")
    store.upgrade()
    store.write_rows("trials", "e", [{"id": "e"}])
    read = looked_into(store, monkeypatch)
    assert store.upgrade() == []
    assert read == ["e"]


def test_files_that_were_in_order_are_upgraded_by_a_version_with_more_columns(tmp_path: Path) -> None:
    filled(tmp_path, OLD, "abcd").upgrade()
    store = filled(tmp_path, NEW, "e")
    assert [Path(path).stem for path in store.upgrade()] == ["a", "b", "c", "d"]
    assert {len(pq.read_schema(path)) for path in (tmp_path / "trials").iterdir()} == {3}
    assert store.upgrade() == []


def test_a_new_file_with_a_column_more_changes_the_files_that_were_in_order(tmp_path: Path) -> None:
    store = filled(tmp_path, OLD, "bcd")
    store.upgrade()
    filled(tmp_path / "other", NEW, "a")
    (tmp_path / "other" / "trials" / "a.parquet").rename(tmp_path / "trials" / "z.parquet")
    again = ResultStore(str(tmp_path), OLD)
    assert [Path(path).stem for path in again.upgrade()] == ["b", "c", "d"]
    assert {tuple(pq.read_schema(path).names) for path in (tmp_path / "trials").iterdir()} == {("id", "status", "loss")}
