"""The model card of an exported trial: Markdown with the metadata that the hub reads, and a snippet that can be run.

text = card(row, how_to_ask, {"source": "Qwen/Qwen2.5-Coder-0.5B", "revision": None}, merged=False)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from raypeft.data import data_name
from raypeft.data.declared.declaration import HUB, DeclaredData
from raypeft.data.declared.mix import MixedData, read_declared
from raypeft.markdown import markdown_table
from raypeft.trial.declarations import own_declarations

SNIPPET = """import json
from pathlib import Path

{imports}

folder = Path("{folder}")  # this folder
asked = json.loads((folder / "raypeft_prompt.json").read_text("utf-8"))
tokenizer = AutoTokenizer.from_pretrained(folder)
{load}
prompt = asked["prompt"].replace("{{nl}}", {instruction})
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(model.device)
found = model.generate(**inputs, **asked["generate"], pad_token_id=tokenizer.pad_token_id,
                       eos_token_id=tokenizer.eos_token_id)
answer = tokenizer.decode(found[0]{after}, skip_special_tokens=True)
for stop in asked["stop"]:
    answer = answer.partition(stop)[0]
print(answer)
"""
INSTRUCTION = "sort the list `x`"
FIELDS = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "optim",
          "lr_scheduler_type", "lora_r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "loraplus_lr_ratio",
          "num_virtual_tokens", "seed", "fidelity")  # fmt: skip
ORIGIN = (
    "sweep", "started_at", "dataset_resolved_revision", "model_resolved_revision", "raypeft_version", "git_commit",
    "torch_version", "transformers_version", "peft_version", "device",
)  # fmt: skip
QUANTISED = (
    "The adapter was trained on quantised weights and merged into weights that are not, so that answers may differ a "
    "little."
)


def card(row: Mapping[str, Any], asked: Mapping[str, Any], base: Mapping[str, str | None], merged: bool) -> str:
    """The text of README.md. `row` is the trial's, `asked` from `how_to_ask`, `base` from `base_of`."""
    shots = row.get("num_shots") or 0
    told = f"\nThe trial put {shots} examples before each query; the snippet does not.\n" if shots else ""
    revision = f" at revision `{base['revision']}`" if base["revision"] else ""
    kind = "The weights of" if merged else "An adapter for"
    return "\n".join([
        *_metadata(row, base, merged),
        f"# {row['model']}: {row['tuning_method']} on {data_name(row['dataset'], row.get('test_dataset'))}",
        "",
        f"{kind} `{base['source']}`{revision}, trained by raypeft (trial {row['id']}).",
        *([QUANTISED] if merged and str(row["tuning_method"]).startswith("qlora") else []),
        "",
        "## Scores",
        "",
        *_scores(row),
        "",
        "## How to ask it",
        told,
        f"```python\n{snippet(asked, base, merged)}```",
        "",
        "raypeft ends an answer at the stop strings while it is generated; the snippet cuts it there.",
        "",
        "## How it was made",
        "",
        *markdown_table(
            ("field", "value"), [(name, row[name]) for name in FIELDS if row.get(name) is not None] + _layers(row)
        ),
        "",
        *markdown_table(("data", "value"), _data(row)),
        "",
        *markdown_table(("origin", "value"), [(name, row[name]) for name in ORIGIN if row.get(name) is not None]),
        "",
    ])  # fmt: skip


def _layers(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The layers that got an adapter: those that were found in the model, or else those that were asked for."""
    found = row.get("adapted_layers")
    found = row.get("target_modules") if found is None else found
    return [] if found is None else [("target_modules", ", ".join(found))]


def _data(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What was trained and tested on, and how much of it."""
    lines = [("dataset", row["dataset"])]
    lines += [(f"part: {name}", text) for name, text in _declared(row.get("declared"), row["dataset"])]
    if row.get("test_dataset"):
        lines.append(("test dataset", row["test_dataset"]))
        lines += [(f"part: {name}", text) for name, text in _declared(row.get("test_declared"), row["test_dataset"])]
    lines += [(f"{split} examples", row.get(f"{split}_examples")) for split in ("train", "validation", "test")]
    lines += [(name, row.get(name)) for name in ("limit", "test_limit", "validation_limit")]
    return [(name, value) for name, value in lines if value is not None]


def _declared(text: str | None, name: str) -> list[tuple[str, str]]:
    """(name, what is known of it) of each declared dataset. No path is told: a card is for other people too."""
    found = read_declared(text)
    if found is None:
        return []
    parts = [(each.name, each.declared) for each in found.mix] if isinstance(found, MixedData) else [(name, found)]
    return [(part, _described(data) if data else "a dataset of raypeft") for part, data in parts]


def _described(data: DeclaredData) -> str:
    sizes = ", ".join(f"{count:,} {split}" for split, count in (data.sizes or {}).items())
    origin = f"{data.path} {data.config or ''}".strip() if data.is_on_hub else f"own data {data.content or ''}".strip()
    fields = {"prompt": data.prompt, "answer": data.answer, "messages": data.messages, "tests": data.tests}
    columns = ", ".join(f"{field}: {json.dumps(column)}" for field, column in fields.items() if column)
    return "; ".join(filter(None, [origin, columns, sizes]))


def _hub_datasets(row: Mapping[str, Any]) -> list[str]:
    """The ids of the declared datasets that are on the hub."""
    every: list[DeclaredData | None] = []
    for found in (read_declared(row.get(name)) for name in ("declared", "test_declared")):
        every += [part.declared for part in found.mix] if isinstance(found, MixedData) else [found]
    ids = [str(data.path).removeprefix(HUB).strip("/") for data in every if data is not None and data.is_on_hub]
    return list(dict.fromkeys(ids))


def snippet(
    asked: Mapping[str, Any],
    base: Mapping[str, str | None],
    merged: bool,
    folder: str = ".",
    instruction: str = INSTRUCTION,
) -> str:
    """A program that loads the folder and asks it one instruction."""
    auto = "AutoModelForSeq2SeqLM" if asked["is_encoder_decoder"] else "AutoModelForCausalLM"
    names = f"{auto}, AutoTokenizer" if auto < "AutoT" else f"AutoTokenizer, {auto}"
    place = _arguments(base)
    load = f"model = {auto}.from_pretrained(folder)" if merged else (
        f"model = {auto}.from_pretrained({place})\n"
        "model = PeftModel.from_pretrained(model, folder)")  # fmt: skip
    imports = f"from transformers import {names}" if merged else (
        f"from peft import PeftModel\nfrom transformers import {names}")  # fmt: skip
    after = "" if asked["is_encoder_decoder"] else '[inputs["input_ids"].shape[1]:]'
    return SNIPPET.format(imports=imports, load=load, after=after, folder=folder, instruction=repr(instruction))


def _arguments(base: Mapping[str, str | None]) -> str:
    """What `from_pretrained` is given for the base: a hub id and its revision, a folder, or a GGUF file."""
    source = str(base["source"])
    if source.endswith(".gguf"):
        folder, _, name = source.rpartition("/")
        return f"{folder!r}, gguf_file={name!r}"
    return f"{source!r}, revision={base['revision']!r}" if base["revision"] else repr(source)


def _metadata(row: Mapping[str, Any], base: Mapping[str, str | None], merged: bool) -> list[str]:
    """The hub's YAML header."""
    library = "transformers" if merged else "peft"
    tags = ["raypeft", "code", row["tuning_method"]]
    # The hub takes ids alone; a path is what a local copy needs.
    named = [f"base_model: {json.dumps(base['source'])}"] if "/" in str(base["source"]) else []
    hub = _hub_datasets(row)
    datasets = ["datasets:", *(f"- {json.dumps(each)}" for each in hub)] if hub else []
    told = [*named, *datasets, f"library_name: {library}", "tags:", *(f"- {tag}" for tag in tags)]
    return ["---", *told, "---", ""]


def _scores(row: Mapping[str, Any]) -> list[str]:
    lines = []
    for score in own_declarations().scores:
        if row.get(score.name) is None:
            continue
        low, high = row.get(f"{score.name}_low"), row.get(f"{score.name}_high")
        interval = f"{score.text(low)} to {score.text(high)}" if low is not None and high is not None else ""
        unit = "%" if score.unit == "fraction" else score.unit
        lines.append((f"{score.title} ({unit})", score.text(row[score.name]), interval))
    if not lines:
        return ["None were computed."]
    found = f"On {row['test_examples']} test examples." if row.get("test_examples") else ""
    return [found, "", *markdown_table(("score", "value", "95 % interval"), lines)]
