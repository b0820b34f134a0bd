"""Files of other tools are recognised."""

from pathlib import Path

import pytest

from raypeft.study.checking import load_config
from raypeft.study.other_styles import other_style
from raypeft.study.sweepfile import ConfigError

WANDB = "program: train.py\nmethod: bayes\nmetric: {name: loss, goal: minimize}\nparameters: {lr: {min: 0.1, max: 1}}\n"
AXOLOTL = "base_model: a/b\nadapter: lora\ndatasets: [{path: d.jsonl, type: alpaca}]\nnum_epochs: 3\n"
FACTORY = "model_name_or_path: a/b\nstage: sft\nfinetuning_type: lora\ndataset: d\n"


@pytest.mark.parametrize(
    ("text", "tool", "instead"),
    [
        (WANDB, "Weights & Biases", "learning_rate: [1.0e-4, 3.0e-4]"),
        (AXOLOTL, "axolotl", "defaults: {model: M}"),
        (FACTORY, "LLaMA-Factory", "lora_r, target_modules"),
    ],
)
def test_a_file_of_another_tool_is_told_what_is_written_here_instead(
    tmp_path: Path, text: str, tool: str, instead: str
) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "s.yaml")
    (problem,) = caught.value.problems
    assert tool in problem and instead in problem


def test_a_sweep_with_mistakes_is_no_file_of_another_tool() -> None:
    assert other_style({"name": "s", "method": "lora", "defaults": {}}) is None
    assert other_style({"method": "x", "parameters": {}, "grids": []}) is None
