"""Adapters are shared with model cards, and work where they are pulled to."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import LocalHub
from shared_folders import TOKEN, has_planted, run

from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.run import run_and_record

pytestmark = pytest.mark.slow

QUICK = {"model": "toy", "dataset": "toy", "limit": 8, "max_new_tokens": 12, "num_beams": 2, "num_return_sequences": 1}
LOADS = """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
from raypeft.models.table import family_of

base = AutoModelForCausalLM.from_pretrained(family_of("toy", None).home)
model = PeftModel.from_pretrained(base, "me/study", subfolder=f"adapters/{sys.argv[1]}")
print(sum(parameter.abs().sum().item() > 0 for name, parameter in model.named_parameters() if "lora_B" in name))
"""


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalHub, Path, str]]:
    """A hub to which a LoRA trial was pushed, the folder of the commands, and the id of the trial."""
    folder = tmp_path_factory.mktemp("adapters")
    store = ResultStore(str(folder / "results"), tables())
    trial = make_trial({**QUICK, "tuning_method": "lora", "num_train_epochs": 2, "learning_rate": 0.002})
    assert run_and_record(TrialContext(trial, "study", store))["status"] == "ok"
    with LocalHub(TOKEN, large=()) as hub:  # small files only, so that uploads take the way of the hub's own storage
        (push,) = run(hub, folder, ["push", "results", "--to", "hf://me/study"])
        assert push.code == 0, push.err
        assert f"{hub.url}/datasets/me/study (private)\n{hub.url}/me/study (private)\n" in push.out
        yield hub, folder, trial.id


def test_each_adapter_has_a_card_and_names_no_path_of_this_machine(pushed: tuple[LocalHub, Path, str]) -> None:
    hub, folder, trial = pushed
    files = hub.files("models/me/study")
    own = {name.rpartition("/")[2] for name in files if name.startswith(f"adapters/{trial}/")}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= own
    for name, content in files.items():
        assert str(folder).encode() not in content and has_planted(content) == [], name
        assert name.endswith((".safetensors", "tokenizer.json")) or b"site-packages" not in content, name
    config = json.loads(files[f"adapters/{trial}/adapter_config.json"])
    assert config["base_model_name_or_path"] == "toy"
    assert f"| `adapters/{trial}` | toy | toy | lora" in files["README.md"].decode()
    assert b"## How to ask it" in files[f"adapters/{trial}/README.md"]


def test_peft_loads_the_adapter_from_the_hub(pushed: tuple[LocalHub, Path, str]) -> None:
    hub, folder, trial = pushed
    env = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", LOADS, trial], env=os.environ | env, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr[-3000:]


def test_rows_of_an_older_revision_come_without_the_adapters_of_another_one(
    pushed: tuple[LocalHub, Path, str],
) -> None:
    hub, folder, _ = pushed
    revision = hub.repos["datasets/me/study"].sha
    (pull,) = run(hub, folder, ["pull", f"hf://me/study@{revision}", "--to", "older"])
    assert f"0 of them with an adapter; adapters are left out: their repository has no revision {revision}" in pull.out


def test_adapters_of_an_earlier_push_go(pushed: tuple[LocalHub, Path, str]) -> None:
    hub, folder, trial = pushed
    repo = hub.repos["models/me/study"]
    repo.files["adapters/old/adapter_config.json"] = b"{}"
    (push,) = run(hub, folder, ["push", "results", "--to", "hf://me/study"])
    assert push.code == 0, push.err
    assert {name.split("/")[1] for name in repo.files if name.startswith("adapters/")} == {trial}


def test_a_pulled_adapter_answers_as_ours(pushed: tuple[LocalHub, Path, str]) -> None:
    hub, folder, trial = pushed
    asks = [["try", results, "--trial", trial, "sort the list `x`"] for results in ("results", "theirs")]
    pull, ours, theirs = run(hub, folder, ["pull", "hf://me/study", "--to", "theirs"], *asks)
    assert pull.out == "theirs has the rows of hf://me/study: 1 trials, 1 of them with an adapter\n"
    assert ours.code == theirs.code == 0 and ours.out.strip() and ours.out == theirs.out
