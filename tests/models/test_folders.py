"""What a folder tells: its config.json is read once, and again where it has changed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from raypeft.models.folders import (
    has_chat_template,
    lfs_pointers,
    read_config,
    safetensors_params,
    weight_files,
    weights_problem,
)
from raypeft.models.table import family_of

CONFIG = {"model_type": "codegen", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 128}


def write(folder: Path, seconds_ago: float = 0, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**CONFIG, **changes}))
    then = time.time() - seconds_ago
    os.utime(file, (then, then))


def layers_of(folder: Path) -> int:
    architecture = family_of(str(folder)).architecture
    assert architecture is not None
    return architecture.layers


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is read as text from here on."""
    seen: list[Path] = []
    usual = Path.read_text

    def read_text(file: Path, *arguments: str, **options: str) -> str:
        seen.append(file)
        return usual(file, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    return seen


def test_a_config_that_lies_there_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    write(tmp_path, seconds_ago=60)
    assert [layers_of(tmp_path) for _ in range(3)] == [2, 2, 2]
    assert reads == [tmp_path / "config.json"]


def test_a_config_that_changes_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, seconds_ago=60)
    assert layers_of(tmp_path) == 2
    write(tmp_path, seconds_ago=30, n_layer=3)
    assert layers_of(tmp_path) == 3


def test_a_change_within_one_step_of_the_clock_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    write(tmp_path)
    stamp = file.stat().st_mtime_ns
    assert layers_of(tmp_path) == 2
    write(tmp_path, n_layer=3)  # the same size, in the same file
    os.utime(file, ns=(stamp, stamp))
    assert layers_of(tmp_path) == 3


def test_a_config_that_is_missing_or_broken_is_told_apart_from_one_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError):
        read_config(tmp_path)
    write(tmp_path)
    assert read_config(tmp_path) == CONFIG


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"tokenizer.json": "{}", "tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}, True),
        ({"chat_template.jinja": "{{ messages }}"}, True),
        ({"tokenizer.json": "{}", "tokenizer_config.json": '{"eos_token": "</s>"}'}, False),
        ({"tokenizer_config.json": '{"eos_token": "</s>"}'}, None),
        ({"tokenizer.json": "{}"}, None),
        ({}, None),
    ],
)
def test_a_folder_tells_whether_its_tokenizer_has_a_chat_template_where_it_is_whole(
    tmp_path: Path, files: dict[str, str], told: bool | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert has_chat_template(tmp_path) is told


def test_a_pointer_of_git_lfs_is_found_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    (tmp_path / "config.json").write_text("{}")
    assert lfs_pointers(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x09" + bytes(7) + b"{}"])
def test_a_damaged_file_of_weights_has_no_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert safetensors_params(tmp_path) is None


def save_weights(file: Path, dtype: torch.dtype = torch.float32) -> None:
    save_file({"a.weight": torch.zeros(3, 4).to(dtype), "a.mask": torch.zeros(2, dtype=torch.uint8)}, file)


def test_only_the_weights_that_transformers_loads_are_counted(tmp_path: Path) -> None:
    save_weights(tmp_path / "model.safetensors")
    save_weights(tmp_path / "adapter_model.safetensors")
    save_weights(tmp_path / "consolidated.safetensors")
    (tmp_path / "training_args.bin").write_bytes(b"")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    assert safetensors_params(tmp_path) == 14
    assert weights_problem(tmp_path) is None


def test_of_weights_in_parts_every_part_must_be_there(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_weights(tmp_path / "model-1.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model-1.safetensors", tmp_path / "model-2.safetensors"]
    assert "lacks model-2.safetensors" in str(weights_problem(tmp_path))
    assert safetensors_params(tmp_path) is None
    save_weights(tmp_path / "model-2.safetensors")
    assert weights_problem(tmp_path) is None


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn])
def test_codes_in_place_of_weights_are_refused_by_their_type(tmp_path: Path, dtype: torch.dtype) -> None:
    save_weights(tmp_path / "model.safetensors", dtype)
    assert "must hold plain weights but stores a.weight as " in str(weights_problem(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_weights_of_every_plain_type_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    save_weights(tmp_path / "model.safetensors", dtype)
    assert weights_problem(tmp_path) is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: b"<html>404</html>" + data])
def test_a_file_of_weights_that_is_not_whole_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "model.safetensors"
    save_weights(file)
    file.write_bytes(damage(file.read_bytes()))
    assert "model.safetensors is damaged" in str(weights_problem(tmp_path))


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    save_weights(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "give the model that the adapter was trained on" in str(weights_problem(tmp_path))
