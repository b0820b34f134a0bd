"""`raypeft sweep --new mine.yaml --data data.jsonl --model NAME`: a sweep file that fits the data, ready to run.

The file asks which of LoRA, IA3 and full fine-tuning is best on this data, at which learning rate and rank, and whether
training is needed at all. It is meant to be read and changed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from raypeft.data import DATASETS
from raypeft.data.declared.dataset import MOST_LEVELS, Loaded, first_table, load
from raypeft.data.declared.declaration import Declaration
from raypeft.data.declared.examples import make_examples
from raypeft.data.declared.files import Table
from raypeft.study.checking import load_config
from raypeft.study.datasets import name_of
from raypeft.study.plan import plan_trials
from raypeft.study.sweepfile import ConfigError

PROMPTS = ("instruction", "prompt", "question", "nl", "intent", "query", "problem", "task", "description", "input")
ANSWERS = ("output", "completion", "answer", "response", "code", "cmd", "snippet", "solution", "canonical_solution",
           "target")  # fmt: skip
CHATS = ("messages", "conversations", "conversation", "chat")
TESTS = ("tests", "test_list", "test_cases", "input_output")
LEVELS = ("difficulty", "level")
"""Usual names of columns, the likeliest first."""
TESTED, VALIDATED = 300, 100
"""So many examples are decoded, if there are more: enough for a first answer in an hour rather than in a day."""
SHORT = 120
"""Characters of an answer up to which several candidates are worth decoding: 95 % of the answers are no longer."""

TEMPLATE = Template("""\
# Which way to specialise ${model} is best on ${name}, at which learning rate and rank?
#
#   python -m raypeft sweep ${command} --dry-run       what would run, and what the data looks like
#   python -m raypeft sweep ${command} --limit 20      a quick test with 20 examples of each split
#   python -m raypeft sweep ${command}                 the study: $count trials
#   python -m raypeft findings results/${sweep} --best      which settings to take, chosen on validation
name: ${sweep_value}

datasets:
  ${name_value}:
    path: ${path}  # ${rows} rows: ${splits}
${columns}
defaults:
  model: ${model_value}
  dataset: ${name_value}
${decoding}${limits}  seed: 42

grids:
  # Without training: is it needed at all? ICL has random examples in the prompt, RAG similar ones.
  - tuning_method:
      - zero_shot
      - {name: icl, num_shots: 4}
      - {name: rag, num_shots: 4, embedding_model: ${embedding}}
  # Each method with the learning rates that are usual for it: best ones differ by a factor of 100 between methods.
  - tuning_method:
      - {name: lora, lora_r: [8, 32], learning_rate: [1.0e-4, 3.0e-4, 1.0e-3]}  # lora_alpha: 32
      - {name: ia3, learning_rate: [1.0e-3, 1.0e-2]}
      - {name: full, learning_rate: [2.0e-5, 5.0e-5]}  # remove it where the model does not fit your GPU
    num_train_epochs: 3
    # seed: [1, 2, 3]  # three seeds of the best settings tell real differences from chance

# What the sweep tests, once it has three seeds; the report says whether it holds:
# claims:
#   - {better: {tuning_method: lora}, than: {tuning_method: full}, on: em_at_1}

# keep: model  # also keeps the weights of full fine-tuning, for export and try; otherwise adapters alone are kept
resources: {gpu_memory_gb: 24}
""")


def write_new_sweep(file: Path, data: str, model: str, asked: dict[str, str]) -> str:
    """Write a sweep file for this data and model, and return what to do next.

    `asked` has the columns that the user names (prompt, answer, messages). Raises ConfigError where the file exists,
    the data cannot be read, or no columns are found.
    """
    if file.exists():
        raise ConfigError(str(file), ["--new must name a file that does not exist yet, but this one does"])
    path = data if "://" in data else str(Path(data).expanduser().absolute())
    if "://" not in data and not Path(path).exists():
        raise ConfigError(
            str(file), [f"--data must be a file, a folder, a URL or hf://owner/name but there is no {data}"]
        )
    try:
        table = first_table("data", path)
        columns = asked or guess_columns(table.columns)
        given = Declaration(path=path, bad_rows="drop", **columns)
        columns |= guess_tests(table, given)
        loaded = load("data", given.model_copy(update=columns))
    except (OSError, ValueError) as error:
        raise ConfigError(data, getattr(error, "problems", [str(error)])) from None
    file.parent.mkdir(parents=True, exist_ok=True)
    values = _values(file, path, model, columns, loaded)
    file.write_text(TEMPLATE.substitute(values, count="?"), encoding="utf-8")
    try:
        trials = plan_trials(load_config(file))
    except ConfigError:
        file.unlink()
        raise
    file.write_text(TEMPLATE.substitute(values, count=len(trials)), encoding="utf-8")
    command = f"  python -m raypeft sweep {values['command']}"
    told = f"{file} is written: {len(trials)} trials. Read it, change what you like, then"
    return f"{told}\n{command} --dry-run\n{command}"


def guess_tests(table: Table, given: Declaration) -> dict[str, str]:
    """The columns of tests and of levels by their usual names, where no more rows are lost by them."""
    by_name = {name.casefold(): name for name in table.columns}
    lost = len(make_examples(table, given)[1])

    def fits(more: dict[str, str]) -> bool:
        made, problems = make_examples(table, given.model_copy(update=more))
        return len(problems) == lost and len({each.level for each in made}) <= MOST_LEVELS

    tests = next((by_name[name] for name in TESTS if name in by_name and fits({"tests": by_name[name]})), None)
    if tests is None:
        return {}
    levels = (by_name[name] for name in LEVELS if name in by_name)
    level = next((name for name in levels if fits({"tests": tests, "levels": name})), None)
    return {"tests": tests} | ({"levels": level} if level else {})


def guess_columns(present: Sequence[str]) -> dict[str, str]:
    """The declaration's columns by their usual names. Raises ValueError with the columns that there are."""
    by_name = {name.casefold(): name for name in present}
    chat = next((by_name[name] for name in CHATS if name in by_name), None)
    answer = next((by_name[name] for name in ANSWERS if name in by_name), None)
    prompt = next((by_name[name] for name in PROMPTS if name in by_name and by_name[name] != answer), None)
    if prompt is not None and answer is not None:
        extra = by_name.get("input")
        if prompt.casefold() == "instruction" and extra is not None:
            return {"prompt": f"{{{prompt}}}\n{{{extra}}}", "answer": answer}
        return {"prompt": prompt, "answer": answer}
    if chat is not None:
        return {"messages": chat}
    raise ValueError(f"must have columns for prompt and answer under a usual name but has {', '.join(present)}; name "
                     f"them: --prompt COLUMN --answer COLUMN, or --messages COLUMN for chats")  # fmt: skip


def _values(file: Path, path: str, model: str, columns: dict[str, str], loaded: Loaded) -> dict[str, Any]:
    """What the template says of this data, by its placeholders."""
    sizes = {split: len(found) for split, found in loaded.splits.items()}
    answers = sorted(len(each.code) for found in loaded.splits.values() for each in found)
    is_short = answers[int(0.95 * (len(answers) - 1))] <= SHORT
    decoding = (
        "  # Ten candidates for each example, by beam search: EM@1 and EM@10 (max_new_tokens: the longest answer)\n"
        if is_short
        else "  num_beams: 1  # one greedy candidate for each example: answers are long (max_new_tokens: the longest)\n"
        "  num_return_sequences: 1\n"
    )
    limits = f"  validation_limit: {min(VALIDATED, sizes['validation'])}  # settings are chosen on these\n"
    if sizes["test"] > TESTED:
        limits += f"  test_limit: {TESTED}  # of {sizes['test']:,}; remove it for the final comparison\n"
    found, sweep = name_of(path), name_of(file.name)
    name = f"my_{found}" if found in DATASETS else found
    dropped = sum(map(len, loaded.dropped.values()))
    lines = [f"    {key}: {json.dumps(value)}" for key, value in columns.items()]
    lines += [f"    bad_rows: drop  # {dropped} rows cannot be used; --dry-run names their lines"] if dropped else []
    lines += ["    # split: {validation: 0.1, test: 0.1, seed: 42}  # made by a hash of the prompt"]
    return {
        "model": model,
        "model_value": _as_text(model),
        "name": name,
        "name_value": _as_text(name),
        "command": shlex.quote(str(file)),
        "sweep": sweep,
        "sweep_value": _as_text(sweep),
        "path": json.dumps(_path_from(file, path)),
        "rows": f"{sum(loaded.read.values()):,}",
        "splits": ", ".join(f"{count:,} {split}" for split, count in sizes.items()),
        "columns": "\n".join(lines) + "\n",
        "decoding": decoding,
        "limits": limits,
        "embedding": "toy" if model == "toy" else "thenlper/gte-small",
    }


def _as_text(name: str) -> str:
    """A name as the sweep file writes it: in quotes where YAML might read it as a number, a date or a truth value."""
    is_plain = re.fullmatch(r"[A-Za-z./][\w./-]*", name) and isinstance(yaml.safe_load(name), str)
    return name if is_plain else json.dumps(name, ensure_ascii=False)


def _path_from(file: Path, path: str) -> str:
    """The data's path as the sweep file writes it: relative to its own folder where it lies below it."""
    try:
        return str(Path(path).relative_to(file.absolute().parent))
    except ValueError:
        return path
