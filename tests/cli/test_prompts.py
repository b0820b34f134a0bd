"""The prompts that a dry run shows."""

import json
import shutil
from pathlib import Path

import pytest
from chat_templates import LLAMA2

from raypeft.cli.prompts import BORDER, kinds_of_prompts
from raypeft.models.table import TOY_FOLDER
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_trials
from raypeft.sweep import main


def shown(folder: Path, grids: str, capsys: pytest.CaptureFixture[str]) -> str:
    file = folder / "s.yaml"
    file.write_text(f"name: s\ndefaults: {{model: toy, dataset: toy}}\ngrids: [{grids}]\n")
    assert main([str(file), "--dry-run", "-v"]) == 0
    return capsys.readouterr().out


def test_a_prompt_is_shown_in_training_and_in_generation_with_its_special_tokens(tmp_path, capsys):
    told = shown(tmp_path, "{tuning_method: lora, prompt_form: fenced}", capsys)
    assert f'    | ### Response:\n    | ```python\n    | {BORDER}\n    ends at "```" or <|end|>' in told
    assert f"    | {BORDER}time.sleep(17)\n    | ```<|end|>" in told
    assert "toy on toy, lora: fenced, fidelity corrected\n  in generation, example toy/test/0, 44 tokens" in told


def test_without_v_no_prompt_is_shown(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text("name: s\ngrids: [{model: toy, dataset: toy, tuning_method: icl}]\n")
    assert main([str(tmp_path / "s.yaml"), "--dry-run"]) == 0
    assert BORDER not in capsys.readouterr().out
    assert main([str(tmp_path / "s.yaml"), "--dry-run", "--json", "-v"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"]


def test_a_chat_is_shown_as_the_models_template_writes_it(tmp_path, capsys):
    folder = tmp_path / "chat"
    shutil.copytree(TOY_FOLDER, folder)
    (folder / "chat_template.jinja").write_text(LLAMA2)
    told = shown(tmp_path, f"{{tuning_method: icl, num_shots: 1, prompt_form: chat, model: {folder}}}", capsys)
    (line,) = (line for line in told.splitlines() if "[INST]" in line)
    assert line.count("[INST]") == 2 and " <|end|>[INST] " in line and line.endswith(f" [/INST]{BORDER}")


def test_without_its_files_a_models_prompt_is_shown_as_text_and_that_is_said(tmp_path, capsys):
    told = shown(tmp_path, "{tuning_method: [rag, lora], prompt_form: chat, model: owner/name}", capsys)
    assert told.count("  the tokenizer is not at hand: text without special tokens\n") == 2
    assert f"    | assistant: {BORDER}\n" in told and "shots are retrieved when the trial runs" in told


def test_of_a_dataset_that_would_be_downloaded_a_made_up_example_is_shown(tmp_path, capsys):
    told = shown(tmp_path, "{tuning_method: icl, dataset: conala}", capsys)
    assert "the example is made up: a dry run downloads nothing" in told and "reverse a list `x`" in told


def test_a_local_copy_of_a_dataset_gives_its_own_example(tmp_path, capsys):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"nl": f"a {split} query", "cmd": "x"}) + "\n")
    told = shown(tmp_path, f"{{tuning_method: zero_shot, dataset: conala, dataset_path: {tmp_path}}}", capsys)
    assert "    | a test query\n" in told


def test_trials_with_the_same_kind_of_prompt_share_an_example(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("""\
name: s
defaults: {model: toy, dataset: toy}
grids:
  - {tuning_method: [lora, full], seed: [1, 2], prompt_form: [null, plain, fenced]}
  - {tuning_method: icl, num_shots: [1, 2, 4]}
""")
    kinds = kinds_of_prompts(plan_trials(load_config(file)))
    assert sorted(len(kind) for kind in kinds) == [3, 4, 8], "plain is the toy dataset's own form"


def test_of_a_mix_an_example_of_each_dataset_is_shown_in_training(tmp_path, capsys):
    said = shown(tmp_path, "{dataset: {mix: [toy, toy_apps]}, tuning_method: lora, test_dataset: toy}", capsys)
    assert [line.split(",")[1] for line in said.splitlines() if line.startswith("  in training")] == [
        " example toy/toy/train/0", " example toy_apps/toy_apps/train/0",
    ]  # fmt: skip
