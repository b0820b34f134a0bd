"""A sweep file that is written for a user's data."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypeft.cli.new_sweep import guess_columns
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.sweep import main


def write(file: Path, count: int = 40, answer: str = "x{}.sort()", **more: Any) -> Path:
    rows = [{"instruction": f"sort list x{n}", "output": answer.format(n), **more} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def new(folder: Path, *options: str, data: str = "data.jsonl", model: str = "toy") -> int:
    return main(["--new", str(folder / "mine.yaml"), "--data", str(folder / data), "--model", model, *options])


def test_the_file_is_planned_as_it_is_and_says_how_many_trials_it_has(tmp_path, capsys):
    write(tmp_path / "data.jsonl")
    assert new(tmp_path) == 0
    text = (tmp_path / "mine.yaml").read_text()
    trials = plan_trials(load_config(tmp_path / "mine.yaml"))
    assert f"the study: {len(trials)} trials" in text and f"is written: {len(trials)} trials" in capsys.readouterr().out
    assert {trial.tuning_method for trial in trials} == {"zero_shot", "icl", "rag", "lora", "ia3", "full"}
    assert all(trial.dataset == "data" and trial.validation_limit for trial in trials)
    assert yaml.safe_load(text)["datasets"]["data"] == {
        "path": "data.jsonl",
        "prompt": "instruction",
        "answer": "output",
    }


def test_long_answers_are_decoded_greedily_and_short_ones_by_beam_search(tmp_path):
    write(tmp_path / "data.jsonl", answer="def f():\n    return 0\n" * 20)
    assert new(tmp_path) == 0
    assert {trial.num_beams for trial in plan_trials(load_config(tmp_path / "mine.yaml"))} == {1}
    write(tmp_path / "data.jsonl")
    (tmp_path / "mine.yaml").unlink()
    assert new(tmp_path) == 0
    assert {trial.num_beams for trial in plan_trials(load_config(tmp_path / "mine.yaml"))} == {10}


def test_a_large_test_split_is_limited_and_a_small_one_is_not(tmp_path):
    write(tmp_path / "data.jsonl", 4_000)
    assert new(tmp_path) == 0
    assert {trial.test_limit for trial in plan_trials(load_config(tmp_path / "mine.yaml"))} == {300}


def test_rows_that_cannot_be_used_are_dropped_and_counted(tmp_path):
    file = write(tmp_path / "data.jsonl")
    file.write_text(file.read_text() + '{"instruction": "x"}\n')
    assert new(tmp_path) == 0
    assert "bad_rows: drop  # 1 rows cannot be used" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (["instruction", "output"], {"prompt": "instruction", "answer": "output"}),
        (["instruction", "input", "output"], {"prompt": "{instruction}\n{input}", "answer": "output"}),
        (["Prompt", "Completion"], {"prompt": "Prompt", "answer": "Completion"}),
        (["id", "input", "output"], {"prompt": "input", "answer": "output"}),
        (["question", "answer", "messages"], {"prompt": "question", "answer": "answer"}),
        (["id", "conversations"], {"messages": "conversations"}),
        (["nl", "cmd"], {"prompt": "nl", "answer": "cmd"}),
    ],
)
def test_columns_are_found_by_their_usual_names(present: list[str], found: dict[str, str]) -> None:
    assert guess_columns(present) == found


def test_tests_and_levels_are_found_by_their_usual_names_where_they_can_be_used(tmp_path):
    rows = [{"prompt": f"task {n}", "code": "def f(): return 1", "test_list": ["assert f() == 1"], "tests": n,
             "difficulty": "hard" if n % 2 else "easy", "level": n} for n in range(40)]  # fmt: skip
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert new(tmp_path) == 0
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["datasets"]["data"] == {
        "path": "data.jsonl", "prompt": "prompt", "answer": "code", "tests": "test_list", "levels": "difficulty",
    }  # fmt: skip


def test_a_folder_and_a_url_are_read_as_a_file_is(tmp_path):
    (tmp_path / "mine").mkdir()
    file = write(tmp_path / "mine" / "train.jsonl")
    assert new(tmp_path, data="mine") == 0
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["datasets"]["mine"]["path"] == "mine"
    assert main(["--new", str(tmp_path / "url.yaml"), "--data", file.as_uri(), "--model", "toy"]) == 0
    text = (tmp_path / "url.yaml").read_text()
    assert yaml.safe_load(text)["datasets"]["train"]["path"] == file.as_uri() and "# 40 rows: 32 train" in text


@pytest.mark.parametrize(("name", "sweep"), [("my study.yaml", "my_study"), ("übung.yaml", "data_übung")])
def test_any_name_of_a_file_gives_a_sweep_a_name(tmp_path, name, sweep):
    data = write(tmp_path / name.replace("yaml", "jsonl"))
    assert main(["--new", str(tmp_path / name), "--data", str(data), "--model", "toy"]) == 0
    made = load_config(tmp_path / name)
    assert made.config.name == sweep and list(made.declared) == [sweep]
    assert f"{tmp_path / name}' --dry-run" in (tmp_path / name).read_text()


@pytest.mark.parametrize("name", ["2024", "2024-05-01", "010", "on", "1e5", "null", "1_000"])
def test_a_name_that_yaml_reads_as_something_else_is_a_text(tmp_path, name):
    data = write(tmp_path / f"{name}.jsonl")
    assert main(["--new", str(tmp_path / f"{name}.yaml"), "--data", str(data), "--model", "toy"]) == 0
    made = load_config(tmp_path / f"{name}.yaml")
    assert (made.config.name, made.config.defaults["dataset"], list(made.declared)) == (name, name, [name])


def test_a_plain_name_stands_without_quotes(tmp_path):
    write(tmp_path / "data.jsonl")
    assert new(tmp_path) == 0
    text = (tmp_path / "mine.yaml").read_text()
    assert "name: mine\n\ndatasets:\n  data:\n" in text and "  model: toy\n  dataset: data\n" in text


def test_other_columns_are_named_by_options(tmp_path, capsys):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"frage": f"f{n}", "code": "c"}) + "\n" for n in range(9)))
    assert new(tmp_path) == 2
    assert "has frage, code; name them: --prompt COLUMN --answer COLUMN" in capsys.readouterr().err
    assert new(tmp_path, "--prompt", "frage", "--answer", "code") == 0


def test_a_file_that_exists_is_not_written_over(tmp_path, capsys):
    write(tmp_path / "data.jsonl")
    (tmp_path / "mine.yaml").write_text("mine")
    assert new(tmp_path) == 2
    assert (tmp_path / "mine.yaml").read_text() == "mine" and "does not exist yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "model", "told"),
    [
        ("no.jsonl", "toy", "--data must be a file, a folder, a URL or hf://owner/name but there is no"),
        ("data.jsonl", "tpy", "did you mean toy?"),
    ],
)
def test_wrong_data_or_models_leave_no_file_behind(tmp_path, capsys, data, model, told):
    write(tmp_path / "data.jsonl")
    assert new(tmp_path, data=data, model=model) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "mine.yaml").exists()


def test_a_new_file_needs_data_and_a_model(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--new", "mine.yaml"])
    assert caught.value.code == 2 and "--new needs --data FILE and --model NAME" in capsys.readouterr().err


def test_a_dataset_with_the_name_of_a_built_in_one_gets_another(tmp_path):
    write(tmp_path / "conala.jsonl")
    assert new(tmp_path, data="conala.jsonl") == 0
    assert "my_conala:" in (tmp_path / "mine.yaml").read_text()
