"""CodeAlpacaPy by its columns, by the rule that selects it from raw CodeAlpaca and, where it lies, by the real file."""

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest

from raypeft.data import codealpacapy
from raypeft.data.sources import read_rows
from raypeft.records import Example, Splits


def row(instruction: object, output: object = "x = 1", given: object = "") -> dict[str, Any]:
    return {"instruction": instruction, "input": given, "output": output}


def raw(count: int) -> list[dict[str, Any]]:
    return [row(f"Python task {number}", f"x = {number}") for number in range(count)]


def write(folder: Path, rows: object) -> str:
    file = folder / "raw.json"
    file.write_text(json.dumps(rows))
    return str(file)


def kept(*rows: dict[str, Any]) -> list[Example]:
    return codealpacapy.select(rows)[0]


@pytest.fixture(scope="module")
def real_file(real_data: Path) -> str:
    file = real_data / "codealpaca" / "code_alpaca_2k.json"
    if not file.exists():
        pytest.skip("RAYPEFT_REAL_DATA holds no codealpaca/code_alpaca_2k.json")
    return str(file)


@pytest.fixture(scope="module")
def splits(real_file: str) -> Splits:
    return codealpacapy.load(real_file)


def test_a_folder_with_the_hub_s_columns_becomes_examples(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"nl": name, "cmd": "x[::-1]"}) + "\n")
    assert codealpacapy.load(str(tmp_path))["test"] == [Example("0", "test", "x[::-1]")]


def test_answers_may_have_several_lines_in_both_readings() -> None:
    stops = codealpacapy.DATASET.untuned_stop + codealpacapy.DATASET.paper_stop
    assert not any(stop in "def f(x):\n    # twice\n    return 2 * x < 3\n" for stop in stops)


def test_an_untuned_answer_ends_where_the_next_instruction_begins() -> None:
    assert codealpacapy.DATASET.untuned_stop == ("\n### Instruction:",)


def test_an_answer_has_at_most_128_tokens() -> None:
    assert codealpacapy.DATASET.max_new_tokens == 128


def test_the_input_follows_the_instruction_on_a_line_of_its_own() -> None:
    assert kept(row("Sort it in Python", given="[2, 1]"))[0].nl == "Sort it in Python\n[2, 1]"


@pytest.mark.parametrize("given", ["", " \n", None])
def test_a_row_without_input_has_the_instruction_alone(given: object) -> None:
    assert kept(row("Sort it in Python", given=given))[0].nl == "Sort it in Python"


def test_python_counts_in_any_case_and_in_the_input_too() -> None:
    assert len(kept(row("in Python"), row("in PYTHON3"), row("a pythonic way"), row("convert", given="python"))) == 4


def test_python_in_the_output_alone_does_not_count() -> None:
    assert kept(row("which language?", "Python")) == []


def test_every_row_left_out_is_counted_under_its_first_reason() -> None:
    rows = [row("Python"), row("Java"), row("Java", "def"), row("Python", "def"), row("Python", " "), row("", "x")]
    assert codealpacapy.select(rows)[1] == {
        "do not mention Python": 2,
        "do not parse": 1,
        "have no text in instruction or output": 2,
    }


def test_the_id_is_the_row_of_the_raw_file() -> None:
    assert [example.id for example in kept(row("Java"), row("Python"), row("C"), row("Python too"))] == ["1", "3"]


NOT_PYTHON = {
    "prose": "The list is sorted.",
    "null byte": "x = 1\0",
    "lone surrogate": "x = '\ud800'",
    "open brackets": "(" * 10_000,
    "nested signs": "-" * 100_000 + "1",
    "nested attributes": "a" + ".b" * 200_000,
    "long sum": "1" + "+1" * 200_000,
    "long elif": "if x:\n pass\n" + "elif x:\n pass\n" * 50_000,
    "huge number": "x = " + "9" * 10_000,
    "deep indentation": "\n".join(" " * depth + "if x:" for depth in range(300)),
}


@pytest.mark.parametrize("code", NOT_PYTHON.values(), ids=NOT_PYTHON.keys())
def test_what_the_parser_cannot_take_does_not_parse(code: str) -> None:
    assert not codealpacapy.parses(code)


def test_parsing_prints_no_warning() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert codealpacapy.parses('x = "\\d"\nassert (x, 1)\nx is 1')
    assert seen == []


def test_a_text_that_warns_parses_even_where_warnings_are_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert codealpacapy.parses('x = "\\d"')


def test_parsing_runs_nothing(tmp_path: Path) -> None:
    assert codealpacapy.parses(f"open({str(tmp_path / 'made')!r}, 'w')")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("count", [3, 4, 7, 10, 240])
def test_the_splits_are_70_10_and_20_percent_and_none_is_empty(tmp_path: Path, count: int) -> None:
    splits = codealpacapy.load(write(tmp_path, raw(count)))
    sizes = {name: len(examples) for name, examples in splits.items()}
    assert sizes["validation"] == max(1, round(count * 0.1))
    assert sizes["test"] == max(1, round(count * 0.2))
    assert sum(sizes.values()) == count
    assert sizes["train"] > 0


def test_every_example_is_in_one_split_only() -> None:
    examples = kept(*raw(50))
    splits = codealpacapy.split(examples)
    assert sorted((each for split in splits.values() for each in split), key=lambda each: int(each.id)) == examples


def test_the_split_does_not_hang_on_the_order_of_the_rows() -> None:
    rows = raw(50)
    shuffled = random.Random(1).sample(rows, len(rows))
    one, other = (codealpacapy.split(kept(*each)) for each in (rows, shuffled))
    for name in one:
        assert {example.nl for example in one[name]} == {example.nl for example in other[name]}
    assert one["test"] != other["test"]


def test_the_split_is_the_same_for_ever() -> None:
    splits = codealpacapy.split(kept(*raw(10)))
    assert [example.id for example in splits["validation"] + splits["test"]] == ["1", "6", "9"]


def test_rows_of_one_intent_stay_in_one_split() -> None:
    rows = [row(f"Python task {number % 20}", f"x = {number}") for number in range(200)]
    splits = codealpacapy.split(kept(*rows))
    intents = [{example.nl for example in split} for split in splits.values()]
    assert sum(map(len, intents)) == len(set.union(*intents)) == 20


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_raw_file_may_be_json_or_json_lines(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"raw.{ending}"
    file.write_text(json.dumps(raw(5)) if ending == "json" else "\n".join(map(json.dumps, raw(5))))
    assert codealpacapy.load(f"file://{file}") == codealpacapy.split(kept(*raw(5)))


def test_a_file_without_python_is_refused_with_the_reasons(tmp_path: Path) -> None:
    file = write(tmp_path, [row("Java"), row("C"), row("Python", "def"), row("Python", "")])
    with pytest.raises(ValueError) as caught:
        codealpacapy.load(file)
    assert str(caught.value) == (
        f"codealpacapy: {file} must have Python rows with at least 3 different intents, one a split, but 0 of its 4 "
        "rows were kept: 2 do not mention Python, 1 do not parse, 1 have no text in instruction or output"
    )


def test_two_intents_are_too_few_for_three_splits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 3 different intents, one a split, but 4 of its 4 rows were kept$"):
        codealpacapy.load(write(tmp_path, raw(2) * 2))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="but 0 of its 0 rows were kept"):
        codealpacapy.load(write(tmp_path, []))


def test_one_file_of_the_hub_s_columns_is_told_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"lacks instruction, output; it has nl, cmd.*and the folder into dataset_path"
    ):
        codealpacapy.load(write(tmp_path, [{"nl": "a", "cmd": "b"}]))


def test_a_raw_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"codealpacapy: dataset_path /nowhere/raw.json must be a file"):
        codealpacapy.load("/nowhere/raw.json")


def test_240_of_the_2017_real_rows_are_python_that_parses(real_file: str) -> None:
    rows = read_rows("codealpacapy", real_file)
    examples, left_out = codealpacapy.select(rows)
    assert (len(rows), len(examples)) == (2017, 240)
    assert left_out.total() == 2017 - 240


def test_the_real_rows_split_into_168_24_and_48(splits: Splits) -> None:
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 168, "validation": 24, "test": 48}


def test_no_real_test_intent_is_in_another_split(splits: Splits) -> None:
    trained = {example.nl for example in splits["train"] + splits["validation"]}
    assert not trained & {example.nl for example in splits["test"]}


def test_most_real_answers_have_several_lines(splits: Splits) -> None:
    assert sum("\n" in example.code.strip() for split in splits.values() for example in split) == 220
