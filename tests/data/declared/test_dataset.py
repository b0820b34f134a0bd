"""A declared dataset as a whole: found, read, split, and the same when its trials read it again."""

import json
from pathlib import Path
from typing import Any

import pytest

from raypeft.data.declared.dataset import DataError, as_dataset, load, settled, with_rows_read
from raypeft.data.declared.declaration import Declaration, DeclaredData


def write(file: Path, count: int = 30, answer: str = "code {}") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"q": f"{file.stem} task {number}", "a": answer.format(number)} for number in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def declared(folder: Path, path: Any = "data.jsonl", **fields: Any) -> DeclaredData:
    return settled("mine", Declaration(**{"path": path, "prompt": "q", "answer": "a"} | fields), folder)


def refusal(folder: Path, path: Any = "data.jsonl", **fields: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        declared(folder, path, **fields)
    return caught.value.problems


def test_a_file_gives_three_splits_and_what_is_derived_from_it(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl")
    data = declared(tmp_path)
    assert data.sizes == {"train": 24, "validation": 3, "test": 3}
    assert (data.stop, data.longest_answer, data.longest_prompt) == (("\n",), len("code 29"), len("data task 29"))
    dataset = as_dataset("mine", data)
    assert {split: len(found) for split, found in dataset.load(None, None).items()} == data.sizes
    assert (dataset.max_new_tokens, dataset.untuned_stop, dataset.judged_by) == (None, ("\n",), ("reference",))


def test_its_identity_is_what_the_file_holds_and_not_where_it_is(tmp_path: Path) -> None:
    write(tmp_path / "a" / "data.jsonl")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "other.jsonl").write_bytes((tmp_path / "a" / "data.jsonl").read_bytes())
    first, moved = declared(tmp_path / "a"), declared(tmp_path / "b", "other.jsonl")
    assert first.path != moved.path and first.identity == moved.identity
    write(tmp_path / "a" / "data.jsonl", 31)
    assert declared(tmp_path / "a").identity != first.identity
    assert declared(tmp_path / "b", "other.jsonl", split={"seed": 1}).identity != first.identity


def test_what_rows_elsewhere_say_changes_no_identity(tmp_path: Path) -> None:
    url = write(tmp_path / "data.jsonl").as_uri()
    unread = declared(tmp_path, url)
    assert (unread.sizes, unread.content) == (None, None)
    data = with_rows_read("mine", unread)
    assert data.sizes == {"train": 24, "validation": 3, "test": 3} and data.longest_answer == len("code 29")
    assert as_dataset("mine", data).untuned_stop == ("\n",) and as_dataset("mine", data).test_size == 3
    assert data.identity == unread.identity
    assert DeclaredData.model_validate_json(data.text) == data


def test_a_trial_refuses_data_that_changed_since_it_was_planned(tmp_path: Path) -> None:
    file = write(tmp_path / "data.jsonl")
    dataset = as_dataset("mine", declared(tmp_path))
    file.write_text(file.read_text().replace("code 7", "code 8"))
    with pytest.raises(DataError, match="have changed since the sweep was planned"):
        dataset.load(None, None)


def test_a_relative_path_is_looked_for_beside_the_sweep_file_first(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "here" / "data.jsonl")
    write(tmp_path / "sweeps" / "data.jsonl", 50)
    monkeypatch.chdir(tmp_path / "here")
    assert declared(tmp_path / "sweeps").path == str(tmp_path / "sweeps" / "data.jsonl")
    (tmp_path / "sweeps" / "data.jsonl").unlink()
    assert declared(tmp_path / "sweeps").path == str(tmp_path / "here" / "data.jsonl")


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
def test_a_folder_has_a_file_for_each_split_and_the_missing_ones_are_made(tmp_path: Path, name: str) -> None:
    write(tmp_path / "folder" / "train.jsonl")
    write(tmp_path / "folder" / f"{name}.jsonl", 5)
    (tmp_path / "folder" / "README.md").write_text("notes")
    assert declared(tmp_path, "folder").sizes == {"train": 27, "validation": 5, "test": 3}


def test_a_mapping_names_a_file_for_each_split(tmp_path: Path) -> None:
    for stem in ("one", "two", "three"):
        write(tmp_path / f"{stem}.jsonl", 4)
    path = {"train": "one.jsonl", "validation": "two.jsonl", "test": "three.jsonl"}
    loaded = load("mine", declared(tmp_path, path))
    assert [loaded.splits[split][0].nl for split in path] == ["one task 0", "two task 0", "three task 0"]
    assert loaded.made == ()


def test_a_file_of_test_examples_alone_is_a_dataset(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", 4)
    assert declared(tmp_path, {"test": "t.jsonl"}).sizes == {"train": 0, "validation": 0, "test": 4}


def test_bad_rows_are_refused_all_at_once_or_dropped_and_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "data.jsonl")
    file.write_text(file.read_text() + '{"q": "x", "a": 3}\n{"q": \n{"q": "y"}\n{"q": "y", "a": null}\n')
    problems = refusal(tmp_path)
    hint = "; `bad_rows: drop` leaves such rows out"
    assert problems == [
        f"mine: {file} line 32: not JSON (Expecting value){hint}",
        f"mine: {file} line 31: a must be text but is a number{hint}",
        f"mine: {file} lines 33, 34: no text in a{hint}",
    ]
    loaded = load("mine", declared(tmp_path, bad_rows="drop"))
    assert sum(len(found) for found in loaded.splits.values()) == 30
    assert loaded.read == {str(file): 34} and len(loaded.dropped[str(file)]) == 4


@pytest.mark.parametrize("content", ["", "\n\n", "[]", '{"q": "x", "a": ""}\n'])
def test_a_file_without_usable_rows_is_refused_whatever_is_asked(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.jsonl").write_text(content)
    assert "must have at least one row that can be used" in refusal(tmp_path, bad_rows="drop")[0]


def test_one_row_is_too_few_to_make_splits_of(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", 1)
    assert "at least 3 different prompts" in refusal(tmp_path)[0]


def test_an_empty_test_file_is_refused_beside_a_good_training_file(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl")
    (tmp_path / "test.jsonl").write_text("")
    assert refusal(tmp_path, {"train": "train.jsonl", "test": "test.jsonl"}) == [
        f"mine: {tmp_path / 'test.jsonl'} must have at least one row that can be used but has none"
    ]


def test_a_share_of_0_leaves_all_to_train_and_validate_on(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl")
    loaded = load("mine", declared(tmp_path, split={"test": 0}))
    assert {split: len(found) for split, found in loaded.splits.items()} == {"train": 27, "validation": 3, "test": 0}
    assert loaded.made == ("validation",)
    assert as_dataset("mine", declared(tmp_path, split={"test": 0})).splits == ("train", "validation")


def test_files_that_are_not_there_are_all_named_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl")
    one, two = refusal(tmp_path, {"train": "dat.jsonl", "test": "tests.jsonl"})
    assert "there is no dat.jsonl beside the sweep file" in one and one.endswith("files there: data.jsonl")
    assert "there is no tests.jsonl" in two


def test_a_folder_without_splits_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "data.jsonl")
    (problem,) = refusal(tmp_path, "folder")
    assert problem.endswith("must have a train or a test file (train.jsonl, train.json, train.csv, train.tsv, "
                            "train.parquet) but has data.jsonl")  # fmt: skip


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("valid", "validation"):
        write(tmp_path / "folder" / f"{name}.jsonl")
    write(tmp_path / "folder" / "train.jsonl")
    assert refusal(tmp_path, "folder")[0].endswith("one file for validation but has valid.jsonl and validation.jsonl")


def test_a_validation_file_alone_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl")
    assert refusal(tmp_path, {"validation": "v.jsonl"}) == [
        "mine: must have a train split or a test split but has validation alone"
    ]


def test_data_elsewhere_is_not_read_while_a_sweep_is_planned(tmp_path: Path) -> None:
    data = declared(tmp_path, "s3://bucket/data.jsonl")
    assert (data.content, data.sizes, data.path) == (None, None, "s3://bucket/data.jsonl")
    assert declared(tmp_path, "hf://owner/name", revision="main").identity["path"] == "hf://owner/name"


def test_a_dataset_on_the_hub_is_loaded_with_its_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    rows = {"train": [{"q": "a", "a": "b"}] * 3, "dev": [{"q": "c", "a": "d"}], "test": [{"q": "e", "a": "f"}]}
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return datasets.DatasetDict({split: datasets.Dataset.from_list(found) for split, found in rows.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    loaded = load("mine", declared(tmp_path, "hf://owner/name", config="main", revision="abc"))
    assert asked == [(("owner/name", "main"), {"revision": "abc"})]
    assert {split: len(found) for split, found in loaded.splits.items()} == {"train": 3, "validation": 1, "test": 1}


def test_a_private_dataset_without_a_token_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be loaded from the hub .* needs a token: `hf auth login`"):
        load("mine", declared(tmp_path, "hf://owner/no-such-dataset"))


def test_the_levels_of_the_test_split_are_those_of_the_dataset(tmp_path: Path) -> None:
    tests = {"inputs": ["1\n"], "outputs": ["2\n"]}
    rows = [{"q": f"task {number}", "t": tests, "l": level} for number, level in enumerate((10, 2, 2, 5))]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = settled("mine", Declaration(path={"test": "test.jsonl"}, prompt="q", tests="t", levels="l"), tmp_path)
    assert as_dataset("mine", data).levels == ("2", "5", "10")
    assert data.identity == data.model_copy(update={"level_names": ()}).identity


@pytest.mark.parametrize(("levels", "refused"), [(("web", "web_low"), True), (("very_low", "low_web", "web"), False)])
def test_a_level_may_not_have_the_columns_of_anothers_bounds(
    tmp_path: Path, levels: tuple[str, ...], refused: bool
) -> None:
    tests = {"inputs": ["1"], "outputs": ["2"]}
    rows = [{"q": f"task {level}", "t": tests, "l": level} for level in levels]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    declaration = Declaration(path={"test": "test.jsonl"}, prompt="q", tests="t", levels="l")
    if refused:
        with pytest.raises(DataError, match="the level web_low of l must have another name beside web"):
            settled("mine", declaration, tmp_path)
    else:
        assert settled("mine", declaration, tmp_path).level_names == levels


def test_a_column_with_a_level_for_each_row_is_refused(tmp_path: Path) -> None:
    rows = [{"q": f"task {number}", "t": ["assert f(1) == 2"], "l": number} for number in range(30)]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="at most 20 different values but l has 30, such as 0, 1, 2"):
        settled("mine", Declaration(path={"test": "test.jsonl"}, prompt="q", tests="t", levels="l"), tmp_path)
