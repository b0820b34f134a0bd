"""APPS: the paper's split, rows that are broken in the ways of the dataset, prompts under both fidelities."""

import json
from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from raypeft.data import apps
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import form_of
from raypeft.sandbox import parse_tests

STDIN = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
CALL = {"inputs": [[[3, 1]]], "outputs": [[3]], "fn_name": "largest"}


def row(number, **fields):
    return {
        "problem_id": number,
        "question": f"Print the sum, case {number}.",
        "solutions": json.dumps(
            ["a, b = map(int, input().split())\nprint(a + b)", "print(sum(map(int, input().split())))"]
        ),
        "input_output": json.dumps(STDIN),
        "difficulty": "introductory",
        "url": "",
        "starter_code": "",
    } | fields


def folder(path, train, test, **more):
    for split, rows in {"train": train, "test": test, **more}.items():
        (path / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return str(path)


def loaded_test_row(path, **fields):
    (example,) = apps.load(folder(path, [row(1), row(2)], [row(3, **fields)]))["test"]
    return example


@pytest.mark.parametrize("rows", [10, 77, 5_000])
def test_the_validation_split_is_the_beginning_of_the_datasets_librarys_shuffle(rows):
    from datasets import Dataset

    shuffled = Dataset.from_dict({"number": range(rows)}).shuffle(42)["number"][:]
    validation, train = apps.split_train([{"number": number} for number in range(rows)])
    assert [each["number"] for each in (*validation, *train)] == shuffled
    assert len(validation) == rows // 10 if rows != 77 else 8


def test_the_full_dataset_splits_into_4500_500_and_250_a_level():
    validation, train = apps.split_train([{} for _ in range(5_000)])
    assert (len(train), len(validation)) == (4_500, 500)
    levels = ["interview"] * 3_000 + ["competition"] * 1_000 + ["introductory"] * 1_000
    kept = apps.first_of_each_level([{"difficulty": level, "place": place} for place, level in enumerate(levels)])
    assert [each["place"] for each in kept] == [*range(4_000, 4_250), *range(250), *range(3_000, 3_250)]


def test_a_folder_with_a_validation_file_keeps_its_splits(tmp_path):
    splits = apps.load(folder(tmp_path, [row(1), row(2)], [row(3)] * 300, validation=[row(4)]))
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 2, "validation": 1, "test": 300}


def test_every_official_solution_is_an_answer_in_the_datasets_order(tmp_path):
    example = loaded_test_row(tmp_path)
    assert example.code.startswith("a, b")
    assert example.other_codes == ("print(sum(map(int, input().split())))",)


@pytest.mark.parametrize("solutions", ["", "not JSON", "null", "{}", '[""]', None])
def test_a_problem_without_a_solution_has_no_code(tmp_path, solutions):
    assert loaded_test_row(tmp_path, solutions=solutions).code == ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no input_output"),
        (None, "no input_output"),
        ('{"inputs": ["1', "tests must be JSON"),
        ("[]", "tests must be a dict with inputs and outputs"),
        ('{"inputs": [], "outputs": []}', "at least one test"),
        ('{"inputs": ["1"], "outputs": []}', "lists of one length but got 1 and 0"),
        ('{"inputs": ["1"], "outputs": ["1"], "fn_name": 3}', "fn_name must be a string"),
        ("[" * 100_000, "tests must be JSON"),
    ],
)
def test_tests_that_cannot_be_run_are_left_out_with_the_reason(tmp_path, text, told):
    example = loaded_test_row(tmp_path, input_output=text)
    assert example.tests == ""
    assert told in example.defect


def test_integers_of_any_length_are_read(tmp_path):
    number = "7" * 6_000
    text = f'{{"inputs": [[1]], "outputs": [{number}], "fn_name": "f"}}'
    example = loaded_test_row(tmp_path, input_output=text)
    assert example.defect == ""
    assert parse_tests(example.tests)["outputs"] == [(10**6_000 - 1) // 9 * 7]


def test_a_null_starter_code_is_none(tmp_path):
    assert loaded_test_row(tmp_path, starter_code=None).starter_code == ""


def test_the_prompt_asks_for_a_function_where_the_tests_call_one(tmp_path):
    assert "The output code needs to read from and write to standard IO:\nPrint" in loaded_test_row(tmp_path).nl
    called = loaded_test_row(tmp_path, input_output=json.dumps(CALL))
    assert "The output code needs to use the provided function signature:\nPrint" in called.nl


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"question": ""}, "problem 3: question must have text but got ''"),
        ({"question": None}, "problem 3: question must have text but got None"),
    ],
)
def test_a_problem_that_asks_nothing_is_refused_by_its_id(tmp_path, fields, told):
    with pytest.raises(ValueError, match=told):
        loaded_test_row(tmp_path, **fields)


def test_missing_columns_are_named(tmp_path):
    rows = [{"problem_id": 1, "question": "q", "answer": "a"}]
    with pytest.raises(ValueError, match="lacks solutions, input_output, difficulty, starter_code; it has problem_id"):
        apps.load(folder(tmp_path, rows, rows))


def test_a_file_is_no_source(tmp_path):
    with pytest.raises(ValueError, match="must be a folder with a train and a test file but got the file"):
        apps.load(str(tmp_path / "problems.jsonl"))


def test_without_the_hub_the_error_says_where_to_put_the_files(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="put the dataset's files into a folder and name it as dataset_path"):
        apps.load(None, "no-such-revision")


TOKENIZER = AutoTokenizer.from_pretrained(TOY_FOLDER)
STARTER = "def largest(numbers):\n    "


def texts(example, fidelity, training):
    form = form_of(fidelity, True, False, training=training, own=apps.FORMS)
    prompt = Encoder(TOKENIZER, False, form).encode(example)
    return TOKENIZER.decode(prompt.prompt_ids), TOKENIZER.decode(prompt.answer_ids), prompt.prefilled


@pytest.fixture
def called(tmp_path):
    fields = {"input_output": json.dumps(CALL), "starter_code": STARTER, "question": "Find the largest."}
    return loaded_test_row(tmp_path, solutions='["def largest(numbers):\\n    return max(numbers)"]', **fields)


ASKED = (
    "Write a python code to solve the following coding problem that obeys the constraints and passes the example test "
    "cases. The output code needs to use the provided function signature:\nFind the largest."
)
ANSWER = "def largest(numbers):\n    return max(numbers)"


def test_the_papers_loss_begins_after_the_fence_and_has_no_end_of_sequence_and_no_starter_code(called):
    prompt, answer, prefilled = texts(called, "paper", training=True)
    assert prompt == f"[INST] {ASKED}\n[/INST]\n```python"
    assert answer == f"\n{ANSWER}\n```"
    assert prefilled == ""


def test_the_papers_training_text_is_tokenised_as_one_and_its_solution_stripped(called):
    padded = replace(called, code=f"\n\n{called.code}  \n")
    prompt = Encoder(TOKENIZER, False, apps.FORMS.paper_training).encode(padded)
    whole = TOKENIZER(f"[INST] {ASKED}\n[/INST]\n```python\n{ANSWER}\n```")["input_ids"]
    assert [*prompt.prompt_ids, *prompt.answer_ids] == whole


def test_the_papers_inference_prompt_ends_with_the_starter_code_which_its_predictions_lack(called):
    prompt, _, prefilled = texts(called, "paper", training=False)
    assert prompt == f"<s>[INST] {ASKED}\n[/INST]\n```python\n{STARTER}"
    assert prefilled == ""


def test_the_corrected_prompt_is_the_same_in_training_and_inference_and_shows_the_starter_code(called):
    assert texts(called, "corrected", training=True) == texts(called, "corrected", training=False)
    prompt, answer, prefilled = texts(called, "corrected", training=True)
    assert prompt == f"### Instruction:\n{ASKED}\n{STARTER}\n### Response:\n```python\n"
    assert answer == f"{ANSWER}\n```<|end|>"
    assert prefilled == ""


def test_real_problems_of_every_level_are_read_with_their_tests(tmp_path, real_data):
    real = (real_data / "apps" / "problems.jsonl").read_text(encoding="utf-8")
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(real, encoding="utf-8")
    splits = apps.load(str(tmp_path))
    assert [each.level for each in splits["test"]] == list(apps.LEVELS)
    assert all(each.code and each.tests and not each.defect for each in splits["test"])
    assert [bool(each.starter_code) for each in splits["test"]] == [True, False, False]
    assert len(splits["train"]) + len(splits["validation"]) == 3


def test_solutions_and_tests_may_be_lists_and_objects_as_in_uploads_of_others(tmp_path):
    fields = {"solutions": ["print(1)", "print(2)"], "input_output": {"inputs": ["1\n"], "outputs": ["2\n"]}}
    example = loaded_test_row(tmp_path, **fields)
    assert (example.code, example.other_codes, example.defect) == ("print(1)", ("print(2)",), "")
    assert parse_tests(example.tests)
