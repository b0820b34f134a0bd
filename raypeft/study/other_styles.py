"""Recognises files of other tools, and says the few lines that are different here.

other_style({"method": "bayes", "parameters": {"lr": {"values": [1e-4]}}})      # "line 1: this looks like ... W&B ..."
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raypeft.mistakes import page


@dataclass(frozen=True, slots=True)
class Style:
    """The files of another tool: keys that only they have, and what is written here instead."""

    tool: str
    keys: frozenset[str]
    """Top-level keys. Two of them are enough to recognise a file."""
    instead: tuple[str, ...]


STYLES = (
    Style(
        "a sweep of Weights & Biases",
        frozenset({"program", "method", "metric", "parameters", "command", "early_terminate"}),
        ("method: grid, parameters: {lr: {values: [1e-4, 3e-4]}}   ->   grids: [{tuning_method: lora, "
         "learning_rate: [1.0e-4, 3.0e-4]}]",
         "method: random or bayes   ->   search: random or optuna, num_samples: 24, parameters as they are, "
         "grids: [{tuning_method: lora}]",
         "program, command   ->   (none: python -m raypeft sweep FILE)"),
    ),
    Style(
        "a configuration of axolotl",
        frozenset({"base_model", "adapter", "micro_batch_size", "lora_target_modules", "sequence_len", "load_in_4bit",
                   "num_epochs", "output_dir", "val_set_size"}),
        ("base_model: M   ->   defaults: {model: M}",
         "adapter: lora   ->   grids: [{tuning_method: lora}]      (adapter: qlora, load_in_4bit   ->   qlora_4bit)",
         "datasets: [{path: P, type: alpaca}]   ->   datasets: {mine: {path: P, prompt: instruction, answer: output}}",
         "num_epochs, lora_target_modules, sequence_len   ->   num_train_epochs, target_modules, max_length"),
    ),
    Style(
        "a configuration of LLaMA-Factory",
        frozenset({"model_name_or_path", "finetuning_type", "stage", "template", "dataset_dir", "cutoff_len",
                   "do_train", "lora_target", "lora_rank", "output_dir"}),
        ("model_name_or_path: M   ->   defaults: {model: M}",
         "finetuning_type: lora   ->   grids: [{tuning_method: lora}]",
         "dataset, dataset_dir   ->   datasets: {mine: {path: P, prompt: instruction, answer: output}}",
         "lora_rank, lora_target, cutoff_len, template   ->   lora_r, target_modules, max_length, prompt_form"),
    ),
)  # fmt: skip


def other_style(data: Mapping[str, Any]) -> str | None:
    """What to say of a file that is written for another tool. None for any other file."""
    if "grids" in data:
        return None
    for style in STYLES:
        if len(style.keys & data.keys()) >= 2:
            lines = "".join(f"\n      {line}" for line in style.instead)
            return (f"line 1: this looks like {style.tool}. A sweep file has name, defaults and grids; write{lines}\n"
                    f"    {page('sweeps.md')} explains the form, {page('search.md')} searches; "
                    f"`raypeft sweep --new FILE --data DATA --model MODEL` writes such a file")  # fmt: skip
    return None
