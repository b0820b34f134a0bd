"""The table of models, and what planning can know of any other."""

import shutil

import pytest

from raypeft.models import table
from raypeft.models.table import MODELS, TOY_FOLDER, family_of, folder_problem, is_known


@pytest.mark.parametrize("model", [*MODELS, "Qwen/Qwen2.5-Coder-0.5B", str(TOY_FOLDER)])
def test_names_hub_ids_and_existing_paths_are_known(model):
    assert is_known(model)


@pytest.mark.parametrize(
    "model",
    [
        "tpy",
        "/no/such/folder",
        "./no/such",
        "${HOME}/llama",
        "my models/llama",
        "a//b",
        "~/x",
        "a/b--c",
        "a/.b",
        "a/b.",
    ],
)
def test_anything_else_is_unknown(model):
    assert not is_known(model)


def test_a_model_that_nothing_is_known_of_leaves_the_targets_to_peft():
    assert family_of("owner/never-seen").architecture is None


def test_a_hub_id_of_the_table_has_the_tables_sizes():
    assert family_of("codellama/CodeLlama-7b-hf") == MODELS["CodeLlama-7b-hf"]


def test_a_folder_that_stands_in_for_a_model_of_the_table_has_its_own_sizes():
    assert family_of("CodeLlama-7b-hf", str(TOY_FOLDER)).architecture == MODELS["toy"].architecture


@pytest.mark.parametrize(
    ("present", "problem"),
    [
        ((), "must hold a config.json"),
        (("config.json",), "must hold a tokenizer"),
        (("config.json", "tokenizer.json"), "must hold weights"),
        (("config.json", "tokenizer.json", "pytorch_model.bin"), None),
        (("config.json", "tokenizer.json", "training_args.bin"), "must hold weights"),
        (("config.json", "tokenizer.json", "model.safetensors"), "model.safetensors is damaged"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_told_what_it_lacks(tmp_path, present, problem):
    for name in present:
        (tmp_path / name).write_text("{}")
    found = folder_problem(str(tmp_path))
    assert (found is None) if problem is None else problem in found


def test_a_folder_with_a_git_lfs_pointer_for_its_weights_is_told_so(tmp_path):
    shutil.copytree(TOY_FOLDER, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "model.safetensors is a Git LFS pointer; run `git lfs pull`" in folder_problem(str(tmp_path / "copy"))


def test_a_plan_looks_a_model_up_once_and_a_later_one_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(table, "_config_folder", lambda source: asked.append(source))
    with table.looked_up_once():
        for _ in range(3):
            table.config_of("owner/name")
            with table.looked_up_once():
                table.config_of("owner/name")
    assert asked == ["owner/name"]
    table.config_of("owner/name")
    assert len(asked) > 1, "a model may have been downloaded since"


@pytest.mark.parametrize("name", ["owner/model", "o/m", "0x1/2-b.c_d", "o-/m", f"o/{'m' * 96}", f"o/{'m' * 97}", "ö/m"])
@pytest.mark.parametrize("ending", ["", ".", "-", ".git", " ", "--x", "..x", "_"])
def test_a_hub_id_is_what_the_hubs_own_library_takes_for_one(name, ending):
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name + ending)
        taken = True
    except HFValidationError:
        taken = False
    assert is_known(name + ending) == taken
