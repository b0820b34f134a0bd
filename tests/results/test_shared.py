"""Results at places that only fsspec knows can be read by name, and are never written."""

import fsspec
import pytest

from raypeft.results.places import opened
from raypeft.results.shared import hub_repository
from raypeft.results.store import ResultStore


@pytest.mark.parametrize(
    ("url", "found"),
    [("hf://me/study", ("me/study", None)), ("hf://me/study@v1.0", ("me/study", "v1.0")),
     ("hf://datasets/me/my.study-2/", ("me/my.study-2", None))],
)  # fmt: skip
def test_a_place_on_the_hub_is_a_dataset_repository(url: str, found: tuple[str, str | None]) -> None:
    assert hub_repository(url) == found


@pytest.mark.parametrize(
    "url", ["hf://me", "hf://spaces/me/study", "hf://me/study/trials", "hf://models/me", "hf:///x"]
)
def test_another_place_on_the_hub_is_a_mistake(url: str) -> None:
    with pytest.raises(ValueError, match="must be hf://OWNER/NAME but got"):
        hub_repository(url)


def test_the_hub_is_not_asked_where_it_must_not_be() -> None:
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        opened("hf://me/study")


def test_any_file_system_of_fsspec_is_read(tmp_path: object) -> None:
    store = ResultStore(f"{tmp_path}/local", {"trials": []})
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/study/trials/a.parquet", _row())
    found = ResultStore.existing("memory://bucket/study", {"trials": []})
    assert [row["id"] for row in found.read_rows()] == ["a"] and store.read_rows() == []


def test_such_a_place_cannot_be_written() -> None:
    with pytest.raises(OSError, match="can only be read; raypeft push writes such a place"):
        ResultStore("memory://bucket/new", {"trials": []})


def test_a_url_of_no_known_kind_is_told() -> None:
    with pytest.raises(ValueError, match="must be a folder or a URL that can be read but got 'nosuch://x/y'"):
        opened("nosuch://x/y")


def _row() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a"]}), stream)
    return stream.getvalue().to_pybytes()
