"""An exported model answers without raypeft as it does with it, from any folder."""

import json
import runpy
from pathlib import Path

import pytest

from raypeft.cli.export import main
from raypeft.models.loading import BaseCache
from raypeft.results.store import ResultStore
from raypeft.study.options import RunOptions
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record
from raypeft.trial.trying import Asked

QUICK = {
    "model": "toy",
    "dataset": "toy",
    "limit": 4,
    "test_limit": 4,
    "max_new_tokens": 12,
    "num_beams": 2,
    "num_return_sequences": 1,
}
METHODS = {
    "lora": {"learning_rate": 0.002, "num_train_epochs": 3, "eval_every_epochs": 3, "limit": 40},
    "full": {"num_train_epochs": 1, "eval_every_epochs": 1, "learning_rate": 5e-4, "limit": 40},
    "prompt_tuning": {"num_train_epochs": 1, "eval_every_epochs": 1, "num_virtual_tokens": 2},
    "zero_shot": {},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultStore:
    store = ResultStore(str(tmp_path_factory.mktemp("results") / "small"), tables())
    bases = BaseCache()
    for name, fields in METHODS.items():
        trial = make_trial({**QUICK, "tuning_method": name, **fields})
        assert (
            run_and_record(TrialContext(trial, "small", store, bases, options=RunOptions(keep="model")))["status"]
            == "ok"
        )
    return store


def id_of(store: ResultStore, method: str) -> str:
    return next(str(row["id"]) for row in store.read_rows() if row["tuning_method"] == method)


def exported(store: ResultStore, method: str, folder: Path, *more: str) -> Path:
    assert main([store.url, "--trial", id_of(store, method), "--to", str(folder), *more]) == 0
    return folder


@pytest.mark.parametrize("method, more", [("lora", ()), ("lora", ("--merged",)), ("full", ())])
def test_the_snippet_of_the_card_gives_the_answer_of_the_trial(
    store: ResultStore, tmp_path: Path, method: str, more: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = exported(store, method, tmp_path / "model", *more)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    (folder / "snippet.py").write_text(code)
    monkeypatch.chdir(folder)
    runpy.run_path("snippet.py")
    printed = capsys.readouterr().out.partition("\n")[2]  # the first line is that of the export
    asked = Asked.of(store, id_of(store, method)).answers(["sort the list `x`"])[0][0]
    assert printed.strip("\n") == asked and asked


def test_an_adapter_names_its_base_by_an_absolute_path(store: ResultStore, tmp_path: Path) -> None:
    config = json.loads((exported(store, "lora", tmp_path / "a") / "adapter_config.json").read_text())
    assert Path(config["base_model_name_or_path"]).is_absolute() and Path(config["base_model_name_or_path"]).is_dir()


def test_the_card_has_scores_fields_and_origin(store: ResultStore, tmp_path: Path) -> None:
    text = (exported(store, "lora", tmp_path / "a") / "README.md").read_text()
    assert text.startswith("---\nbase_model: ") and "library_name: peft" in text
    assert "| EM@1 (%) |" in text and "| learning_rate | 0.002 |" in text and "| transformers_version |" in text


def test_virtual_tokens_are_exported_as_an_adapter_and_not_merged(
    store: ResultStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = id_of(store, "prompt_tuning")
    assert main([store.url, "--trial", trial, "--to", str(tmp_path / "b"), "--merged"]) == 2
    assert "--merged must be left out for prompt_tuning" in capsys.readouterr().err
    assert (exported(store, "prompt_tuning", tmp_path / "b") / "adapter_model.safetensors").is_file()


def test_nothing_to_export_and_a_full_folder_are_told(
    store: ResultStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([store.url, "--trial", id_of(store, "zero_shot"), "--to", str(tmp_path / "c")]) == 2
    assert "must be one that trained something" in capsys.readouterr().err
    (tmp_path / "x").touch()
    assert main([store.url, "--trial", id_of(store, "lora"), "--to", str(tmp_path)]) == 2
    assert "--to must be a new or empty folder" in capsys.readouterr().err
