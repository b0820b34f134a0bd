"""What a dry run says of the data."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from raypeft.sweep import main

Row = dict[str, Any]


def shown(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    rows: list[Row],
    fields: str = "",
    test: Any = None,
    data: str = "",
) -> str:
    splits = {"train": rows} if test is None else {"train": rows, "validation": test, "test": test}
    path = {name: f"{name}.jsonl" for name in splits}
    for name, found in splits.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (folder / "s.yaml").write_text(f"""
name: s
datasets: {{mine: {{path: {json.dumps(path)}, prompt: q, answer: a, bad_rows: drop{data}}}}}
grids: [{{model: toy, dataset: mine, tuning_method: [zero_shot, lora]{fields}}}]
""")
    assert main([str(folder / "s.yaml"), "--dry-run"]) == 0
    return capsys.readouterr().out


def rows(count: int = 30, first: int = 0) -> list[Row]:
    return [
        {"q": f"sort the list named {'abcdefghij'[n % 10]}{n}", "a": f"x{n}.sort()"}
        for n in range(first, first + count)
    ]


def test_rows_splits_and_lengths_are_told_in_characters_and_in_the_models_tokens(tmp_path, capsys):
    told = shown(tmp_path, capsys, rows())
    assert f"  {tmp_path / 'train.jsonl'}: 30 rows read\n" in told
    assert (
        "  examples: train 24, validation 3, test 3 (validation and test made by a hash of the prompt, seed 42)" in told
    )
    assert "  prompts: median 23, 95 % at most 23, longest 23 characters\n    median " in told
    assert "tokens of toy\n  max_new_tokens: the length of the longest answer (" in told
    assert 'an answer of an untuned model ends at "\\n", or with its end-of-sequence token' in told


def test_dropped_rows_are_counted_with_their_lines(tmp_path, capsys):
    told = shown(tmp_path, capsys, [*rows(), {"q": "x"}, {"q": 3, "a": "x"}])
    assert "32 rows read, 2 dropped\n    line 31: no text in a\n    line 32: q must be text but is a number" in told


def test_ids_that_stand_more_than_once_are_told_with_their_lines(tmp_path, capsys):
    told = shown(tmp_path, capsys, [{**row, "n": "same"} for row in rows()], data=", id: n")
    assert "    lines 2, 3, 4 and 26 more: n is that of an earlier row; a number is put behind it (29 rows)\n" in told
    assert "earlier row" not in shown(tmp_path, capsys, [{**row, "n": row["q"]} for row in rows()], data=", id: n")


def test_answers_that_max_new_tokens_cuts_are_counted(tmp_path, capsys):
    told = shown(tmp_path, capsys, rows(), ", max_new_tokens: 3")
    assert "30 answers (100.0 %) are longer than max_new_tokens 3 of toy: no candidate can match them" in told
    assert "longer than" not in shown(tmp_path, capsys, rows(), ", max_new_tokens: 60")


def test_an_answer_that_is_too_long_for_the_models_context_is_named(tmp_path, capsys):
    told = shown(tmp_path, capsys, [*rows(), {"q": "all", "a": "x = 1; " * 3000, "n": "huge"}], data=", id: n")
    assert "  the longest answer, of example huge, has " in told
    assert "31 of 31 prompts do not fit the context of 2,048 tokens, so that max_new_tokens is less\n" in told
    (limit,) = re.findall(r"the longest answer \((\d+) tokens of toy\)", told)
    assert int(limit) < 30
    assert "beside it" not in shown(tmp_path, capsys, rows())


def test_the_text_around_a_prompt_takes_room_beside_the_longest_answer(tmp_path, capsys):
    long = [*rows(), {"q": "all", "a": "é" * 1000}]
    assert "31 of 31 prompts do not" not in shown(tmp_path, capsys, long)
    around = "prompt_template: {query: '" + "ü" * 1000 + " {nl}'}"
    assert "31 of 31 prompts do not" in shown(tmp_path, capsys, long, f", {around}")


def test_test_prompts_that_stand_in_train_are_counted_and_so_are_those_that_nearly_do(tmp_path, capsys):
    train = [{"q": "Sort  the list `x`", "a": "1"}, {"q": "take 3 of them", "a": "2"}, *rows()]
    test = [{"q": "sort the list `X`", "a": "1"}, {"q": "take 14 of them!", "a": "2"}, {"q": "other", "a": "3"}]
    told = shown(tmp_path, capsys, train, test=test)
    assert "leakage: 1 of 3 test prompts are in train as well, 1 more but for numbers, quoted text, punct" in told


def test_validation_prompts_that_nearly_stand_in_train_are_counted_as_well(tmp_path, capsys):
    other = [{"q": "take 14 of them!", "a": "2"}, *rows(2, 100)]
    told = shown(tmp_path, capsys, [{"q": "take 3 of them", "a": "2"}, {"q": "open it", "a": "1"}], test=other)
    assert "\n  0 of 3 validation prompts are in train as well, 1 more but for" in told
    assert "validation prompts are" not in shown(tmp_path, capsys, [{"q": "open it", "a": "1"}], test=rows(2))


def test_of_many_prompts_a_sample_is_looked_at(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("raypeft.cli.data_report.LOOKED_AT", 2)
    told = shown(tmp_path, capsys, [{"q": "open it", "a": "1"}], test=rows(4))
    assert "0 of 4 test prompts are in train as well, 0 more of 2 looked at but for" in told


def test_prompts_with_several_answers_are_counted(tmp_path, capsys):
    train = [
        *rows(),
        {"q": "twice", "a": "1"},
        {"q": "Twice", "a": "2"},
        {"q": "again", "a": "1"},
        {"q": "again", "a": "1"},
    ]
    told = shown(tmp_path, capsys, train, test=rows(3, 100))
    assert "train: 2 prompts stand more than once, 1 of them with different answers" in told


def chats(count: int, first: int = 0) -> list[Row]:
    """Chats that differ in how they begin, and not in what is asked last."""
    texts = [
        ("sort", "take", "open", "close", "merge")[n % 5] + f" the {'abcdefghij'[n % 10] * 20}" for n in range(count)
    ]
    return [
        {
            "m": [
                {"role": ("user", "assistant")[place % 2], "content": text}
                for place, text in enumerate([each, "x", "go on", f"y{first}"])
            ]
        }
        for each in texts[first:]
    ]


def test_a_chat_is_told_with_what_was_said_before(tmp_path, capsys):
    for name, found in (("train", chats(8)), ("test", chats(10, 8))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    (tmp_path / "s.yaml").write_text("""
name: s
datasets: {mine: {path: {train: train.jsonl, test: test.jsonl}, messages: m}}
grids: [{model: toy, dataset: mine, tuning_method: zero_shot}]
""")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "longest 38 characters\n" in told
    assert "stand more than once" not in told
    assert "leakage: 0 of 2 test prompts are in train as well, 0 more" in told


def test_the_end_of_an_untuned_models_answer_is_that_of_its_form(tmp_path, capsys):
    told = shown(tmp_path, capsys, rows(), ", prompt_form: fenced")
    assert 'an answer of an untuned model ends at "```", or with its end-of-sequence token' in told
    told = shown(tmp_path, capsys, rows(), ", prompt_form: [null, plain, fenced]")
    assert 'untuned model (prompt_form null, prompt_form plain) ends at "\\n", or with' in told
    assert 'untuned model (prompt_form fenced) ends at "```", or with' in told


def test_data_elsewhere_is_named_and_not_fetched(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text("""
name: s
grids: [{model: toy, dataset: {path: "s3://bucket/mine.jsonl", prompt: q, answer: a}, tuning_method: lora}]
""")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    assert (
        "data mine: s3://bucket/mine.jsonl is not on this machine and is read when trials run"
        in capsys.readouterr().out
    )


def test_a_built_in_dataset_is_described_where_its_folder_is_given(real_data, tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(f"""
name: s
grids: [{{model: toy, dataset: conala, dataset_path: {real_data / "conala"}, tuning_method: icl}}]
""")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "examples: train 2,135, validation 201, test 543\n" in told and "leakage: 0 of 543 test prompts" in told


def test_a_test_dataset_is_told_with_its_leakage_and_what_is_left_out(tmp_path, capsys, real_data):
    conala = f"dataset: conala, dataset_path: {real_data / 'conala'}"
    odex = f"test_dataset: odex, test_dataset_path: {real_data / 'odex' / 'en_test.jsonl'}"
    (tmp_path / "s.yaml").write_text(f"name: s\ngrids: [{{model: toy, {conala}, {odex}, tuning_method: lora}}]\n")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "data conala->odex\n  examples: train 2,135, validation 201, test 439 (of odex)\n" in told
    assert "  354 examples to train or validate on are left out: they have the source of a test example\n" in told
    assert "  leakage: 0 of 439 test prompts are in train as well" in told


def test_test_prompts_of_another_dataset_that_stand_in_train_are_counted(tmp_path, capsys):
    for name, found in (("mine", rows()), ("theirs", rows())):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    seeds = (("mine", 42), ("theirs", 1))
    data = [f"{{path: {name}.jsonl, prompt: q, answer: a, split: {{seed: {seed}}}}}" for name, seed in seeds]
    grid = f"{{model: toy, dataset: {data[0]}, test_dataset: {data[1]}, tuning_method: lora}}"
    (tmp_path / "s.yaml").write_text(f"name: s\ngrids: [{grid}]\n")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    (line,) = [line for line in told[told.index("data mine->theirs") :].splitlines() if "leakage" in line]
    assert int(line.split()[1]) > 0


def test_leakage_from_a_test_dataset_that_is_elsewhere_is_not_known(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(
        "name: s\ngrids: [{model: toy, dataset: toy, test_dataset: odex, tuning_method: lora}]\n")  # fmt: skip
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    assert "leakage: not known, since odex cannot be read without a download" in capsys.readouterr().out


FROM = ["dataset: conala, dataset_path", "dataset: toy, test_dataset: odex, test_dataset_path"]


@pytest.mark.parametrize("fields", FROM)
def test_data_that_cannot_be_read_is_told(tmp_path, capsys, fields):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"x": 1}) + "\n")
    path = tmp_path / ("rows.jsonl" if "odex" in fields else "")
    (tmp_path / "s.yaml").write_text(f"name: s\ngrids: [{{model: toy, {fields}: {path}, tuning_method: lora}}]\n")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    assert "cannot be read, so that its trials will fail: " in capsys.readouterr().out


def test_a_mix_is_told_with_what_each_of_its_datasets_gives(tmp_path, capsys):
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    mix = "{mix: [toy, {path: own.jsonl, prompt: q, answer: a}]}"
    grid = f"{{model: toy, dataset: {mix}, tuning_method: lora}}"
    (tmp_path / "s.yaml").write_text(f"name: s\ngrids: [{grid}]\n")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "data toy+own, a mix\n  of toy: train 1,280, validation 120\n" in told
    assert f"  {tmp_path / 'own.jsonl'}: 30 rows read\n  of own: train 24, validation 3\n" in told
    assert "data toy+own->own\n  examples: train 1,304, validation 123, test 3 (of own)\n" in told
