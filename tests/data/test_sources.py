"""Splits from folders and URLs, and what is said where they are not as they should be."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypeft.data.sources import SPLITS, Columns, read_rows, read_splits, unique
from raypeft.records import Example, Splits

ROWS: dict[str, list[dict[str, Any]]] = {
    "train": [
        {"key": "a", "text": "reverse `x`", "code": "x[::-1]", "more": 1},
        {"key": "b", "text": "né\u2028e", "code": "if x:\n    pass"},
    ],
    "validation": [{"key": "c", "text": "sort `x`", "code": "sorted(x)"}],
    "test": [{"key": "d", "text": "sum `x`", "code": "sum(x)"}],
}
EXAMPLES = {
    "train": [Example("a", "reverse `x`", "x[::-1]"), Example("b", "né\u2028e", "if x:\n    pass")],
    "validation": [Example("c", "sort `x`", "sorted(x)")],
    "test": [Example("d", "sum `x`", "sum(x)")],
}

COLUMNS = Columns(id="key", nl="text", code="code")


def write_split(folder: Path, split: str, rows: list[dict[str, Any]], ending: str = "jsonl") -> None:
    file = folder / f"{split}.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif ending == "json":
        file.write_text(json.dumps(rows, indent=1))
    else:
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, rows in ROWS.items():
        write_split(tmp_path, split, rows)
    return tmp_path


def read(source: str | Path | None) -> Splits:
    return read_splits(
        "things", "owner/things", str(source) if source else None, None,
        COLUMNS
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_folder_of_any_format_gives_the_same_examples(tmp_path: Path, ending: str) -> None:
    for split, rows in ROWS.items():
        write_split(tmp_path, split, rows, ending)
    assert read(tmp_path) == EXAMPLES


def test_each_split_may_have_a_format_of_its_own(tmp_path: Path) -> None:
    for split, ending in zip(SPLITS, ["parquet", "json", "jsonl"], strict=True):
        write_split(tmp_path, split, ROWS[split], ending)
    assert read(tmp_path) == EXAMPLES


def test_a_source_may_be_a_file_url(folder: Path) -> None:
    assert read(f"file://{folder}") == EXAMPLES


def test_a_slash_at_the_end_changes_nothing(folder: Path) -> None:
    assert read(f"{folder}/") == EXAMPLES


def test_a_source_may_be_relative_to_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert read(folder.name) == EXAMPLES


def test_a_file_that_changed_is_read_anew(folder: Path) -> None:
    read(folder)
    write_split(folder, "test", [{"key": "e", "text": "new", "code": "new"}])
    assert read(folder)["test"] == [Example("e", "new", "new")]


def test_rows_without_ids_are_numbered(folder: Path) -> None:
    write_split(folder, "train", [{"text": "a", "code": "b"}, {"text": "c", "code": "d"}])
    assert [example.id for example in read(folder)["train"]] == ["0", "1"]


def test_ids_that_are_numbers_become_text(folder: Path) -> None:
    write_split(folder, "train", [{"key": 7, "text": "a", "code": "b"}])
    assert read(folder)["train"][0].id == "7"


def test_blank_lines_are_no_rows(folder: Path) -> None:
    file = folder / "train.jsonl"
    file.write_text("\n" + file.read_text() + "\n\n")
    assert read(folder) == EXAMPLES


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_split_is_named_with_the_files_that_would_do(folder: Path, split: str) -> None:
    (folder / f"{split}.jsonl").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"things: dataset_path {folder} must hold one of {split}.jsonl, {split}.json, {split}.parquet "
        "but holds none of them"
    )


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="things: dataset_path /nowhere/at/all must hold one of train"):
        read("/nowhere/at/all")


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_missing_column_is_named_with_those_that_are_there(folder: Path, ending: str) -> None:
    (folder / "validation.jsonl").unlink()
    write_split(folder, "validation", [{"key": "c", "intent": "sort", "code": "sorted(x)"}], ending)
    with pytest.raises(ValueError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"things validation ({folder}): must have the columns text, code but lacks text; it has key, intent, code"
    )


@pytest.mark.parametrize("value", ["", " \n", None])
def test_rows_without_text_are_counted_and_the_first_is_named(folder: Path, value: object) -> None:
    good, bad = ROWS["test"][0], {"key": "e", "text": "sum", "code": value}
    write_split(folder, "test", [good, bad, good, bad])
    with pytest.raises(ValueError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"things test ({folder}): 2 rows have no text in text or code, the first is row 1 (counted from 0); "
        "remove or fill them"
    )


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_a_split_without_rows_is_refused(folder: Path, ending: str) -> None:
    (folder / "test.jsonl").unlink()
    write_split(folder, "test", [], ending)
    with pytest.raises(ValueError, match=r"things test \(.*\): must have at least one row but has none"):
        read(folder)


def test_a_line_that_is_not_json_is_named(folder: Path) -> None:
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"key": "e", "te')
    with pytest.raises(ValueError, match=r"test\.jsonl line 2: not JSON"):
        read(folder)


def test_a_line_that_is_no_object_is_named(folder: Path) -> None:
    with (folder / "test.jsonl").open("a") as file:
        file.write("3\n")
    with pytest.raises(ValueError, match=r"test\.jsonl line 2: must be a JSON object"):
        read(folder)


def test_a_hub_out_of_reach_is_told_with_the_remedy() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"owner/things cannot be fetched from the hub.*name it as dataset_path"
    ):
        read(None)


def test_a_repeated_id_gets_a_number_so_that_candidates_can_be_told_apart():
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


def test_a_validation_split_that_the_hub_calls_valid_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    repository = tmp_path / "repository"  # load_dataset reads a folder laid out like a repository of the hub just so
    for split, rows in zip(("train", "valid", "test"), ROWS.values(), strict=True):
        table = pa.Table.from_pylist([{**row, "more": 1} for row in rows])
        (repository / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, repository / "data" / f"{split}-00000-of-00001.parquet")
    assert set(datasets.load_dataset(str(repository))) == {"train", "valid", "test"}
    found = read_splits("things", str(repository), None, None, COLUMNS)
    assert found == EXAMPLES


def test_a_hub_repository_that_lacks_a_split_is_told_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "repository" / "data").mkdir(parents=True)
    for split in ("train", "valid"):
        file = tmp_path / "repository" / "data" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(ROWS["test"]), file)
    with pytest.raises(FileNotFoundError, match=r"lacks test; it has train, valid$"):
        read_splits("things", str(tmp_path / "repository"), None, None, COLUMNS)


def test_a_parquet_file_that_was_cut_is_named(folder: Path) -> None:
    (folder / "test.jsonl").unlink()
    write_split(folder, "test", ROWS["test"], "parquet")
    file = folder / "test.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"things: .*test\.parquet must be a Parquet file but is none, or damaged"):
        read(folder)


def test_a_column_of_bytes_is_called_so(folder: Path) -> None:
    (folder / "test.jsonl").unlink()
    write_split(folder, "test", [{"key": "d", "text": "sum `x`", "code": b"sum(x)"}], "parquet")
    with pytest.raises(ValueError, match=r"code must be text but 1 rows hold bytes, the first is row 0"):
        read(folder)


@pytest.mark.parametrize(("ending", "content"), [("json", "jsonl"), ("jsonl", "json")])
def test_json_is_read_by_what_it_is_and_not_by_its_ending(folder: Path, ending: str, content: str) -> None:
    (folder / "train.jsonl").unlink()
    write_split(folder, "train", ROWS["train"], content)
    (folder / f"train.{content}").rename(folder / f"train.{ending}")
    assert read(folder) == EXAMPLES


def test_a_split_may_be_compressed(folder: Path) -> None:
    (folder / "train.jsonl.gz").write_bytes(gzip.compress((folder / "train.jsonl").read_bytes()))
    (folder / "train.jsonl").unlink()
    assert read(folder) == EXAMPLES


def test_a_file_whose_ending_says_nothing_is_read_as_json(folder: Path) -> None:
    other = (folder / "train.jsonl").rename(folder / "mbpp.txt")
    assert read_rows("things", str(other)) == ROWS["train"]
    assert read_rows("things", f"file://{other.rename(folder / 'a.jsonl?download=true')}") == ROWS["train"]


def test_one_file_may_be_compressed_but_is_no_csv(tmp_path: Path) -> None:
    content = "".join(json.dumps(row) + "\n" for row in ROWS["train"]).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    assert read_rows("things", str(tmp_path / "a.jsonl.gz")) == ROWS["train"]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"things: .*a\.csv must be a file that ends in \.jsonl, \.json, \.parquet"):
        read_rows("things", str(tmp_path / "a.csv"))


def test_a_folder_on_this_disk_may_have_any_name(folder: Path) -> None:
    assert read(folder.rename(folder.parent / "c::d#e")) == EXAMPLES


def test_a_git_lfs_pointer_is_called_so(folder: Path) -> None:
    (folder / "test.jsonl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(ValueError, match=r"test\.jsonl must be a data file but is a Git LFS pointer"):
        read(folder)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["a", "a", "a#2", "b"], ["a", "a#3", "a#2", "b"]),
        (["a", "a#2", "a", "a#2", "a"], ["a", "a#2", "a#3", "a#2#2", "a#4"]),
    ],
)
def test_an_id_that_was_made_unique_is_not_one_that_another_row_has(ids: list[str], expected: list[str]) -> None:
    assert unique(ids) == expected


def test_ids_may_be_missing_or_longer_than_64_bits(folder: Path) -> None:
    rows = [{**ROWS["test"][0], "key": key} for key in (2**70, None, 2**70)]
    write_split(folder, "test", rows)
    assert [each.id for each in read(folder)["test"]] == [str(2**70), "1", f"{2**70}#2"]


@pytest.mark.parametrize(("value", "told"), [(5, "5"), (True, "True"), (["x = 1"], 'a list (["x = 1"])')])
def test_a_column_of_something_else_than_text_is_told_what_it_holds(folder: Path, value: object, told: str) -> None:
    write_split(folder, "test", [ROWS["test"][0], {"key": "e", "text": "sum", "code": value}])
    with pytest.raises(ValueError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"things test ({folder}): code must be text but 1 rows hold something else, the first is row 1 (counted from "
        f"0) with {told}"
    )
