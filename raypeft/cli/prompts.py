"""`raypeft sweep NAME --dry-run -v`: one example of each kind of prompt, as the model reads it.

Downloads nothing. Transformers' tokenizers are imported, but not torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from raypeft.data import dataset_of, is_here
from raypeft.data.declared.mix import read_declared
from raypeft.models.table import family_of
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import render, turns
from raypeft.prompting.shots import random_shots
from raypeft.records import Dataset, Example, Form, Splits
from raypeft.study.config import Trial
from raypeft.trial.encoders import trial_form
from raypeft.trial.searching import stop_strings

BORDER = "▌"
"""Stands where the answer begins."""
MADE_UP = Example("made up", "reverse a list `x`", "x[::-1]")


def print_prompts(trials: Sequence[Trial]) -> None:
    """Print an example for each model, dataset, class of methods (trained or not, with shots or not) and form."""
    for kind in kinds_of_prompts(trials):
        print("\n" + "\n".join(_described(kind)))


def kinds_of_prompts(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Trials together whose prompts differ in their text only."""
    kinds: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        forms = [_form(trial, trial.test_data), *(_form(trial, each, training=True) for each in trial.data.joined)]
        method = trial.method
        data = (*_home(trial), *_tested(trial))
        key = (*trial.base_key[:3], *data, trial.fidelity, method.trains, *forms)
        kinds.setdefault((*key, bool(method.num_shots)), []).append(trial)
    return list(kinds.values())


def _described(kind: Sequence[Trial]) -> Iterator[str]:
    trial, methods = kind[0], ", ".join(dict.fromkeys(each.tuning_method for each in kind))
    given = trial.prompt_form or ("own template" if trial.prompt_template else f"{trial.data_name}'s own form")
    yield f"{trial.model} on {trial.data_name}, {methods}: {given}, fidelity {trial.fidelity}"
    splits, source = _splits(*_home(trial))
    if trial.test_dataset:
        tested, other = _splits(*_tested(trial))
        splits, source = {**splits, "test": tested["test"]}, source or other
    tokenizer = _tokenizer(trial.model_path or family_of(trial.model).home)
    yield from [f"  {source}"] if source else []
    if tokenizer is None:
        yield "  the tokenizer is not at hand: text without special tokens"
    if trial.decode:
        query, shots = splits["test"][0], _shots(trial, splits["train"])
        if shots and trial.method.shot_source == "retrieved":
            yield "  shots are retrieved when the trial runs; those shown are random"
        yield from _example(trial, tokenizer, query, shots, _form(trial, trial.test_data), training=False)
    if trial.method.trains:
        data = trial.data
        for part in data.joined:
            its_own = (
                each
                for each in splits["train"]
                if each is not MADE_UP and each.code.strip() and data.of(each)[0] is part
            )
            form = _form(trial, part, training=True)
            yield from _example(trial, tokenizer, next(its_own, MADE_UP), (), form, training=True)


def _example(
    trial: Trial, tokenizer: Any, example: Example, shots: Sequence[Example], form: Form, training: bool
) -> Iterator[str]:
    """The lines for one example: what it is, and its text with a mark where the answer begins."""
    stage = "training" if training else "generation"
    if tokenizer is None:
        prompt = _chat_lines(example, shots, form) if form.chat else render(example, shots, form)
        answer, length, end = form.answer.format(code=example.code), "", "the end-of-sequence token"
    else:
        encoder = Encoder(tokenizer, _is_encoder_decoder(trial), form, apart=trial.fidelity == "paper")
        encoded = encoder.encode(example, shots)
        prompt, answer = tokenizer.decode(encoded.prompt_ids), tokenizer.decode(encoded.answer_ids)
        length = f", {len(encoded.prompt_ids)}{f' + {len(encoded.answer_ids)}' if training else ''} tokens"
        end = tokenizer.decode([encoder.end_id])
    yield f"  in {stage}, example {example.id}{length}:"
    yield from (f"    | {line}" for line in f"{prompt}{BORDER}{answer if training else ''}".split("\n"))
    if not training:
        strings = stop_strings(trial, trial.test_data, form)
        yield "    ends at " + " or ".join([*(json.dumps(each) for each in strings), end])


def _chat_lines(example: Example, shots: Sequence[Example], form: Form) -> str:
    """The turns of a chat, where there is no tokenizer whose template would join them."""
    return "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns(example, shots, form)) + "assistant: "


def _form(trial: Trial, dataset: Dataset, training: bool = False) -> Form:
    return trial_form(trial, dataset, _is_encoder_decoder(trial), training)


def _is_encoder_decoder(trial: Trial) -> bool:
    architecture = family_of(trial.model, trial.model_path).architecture
    return architecture is not None and architecture.is_encoder_decoder


def _shots(trial: Trial, train: Sequence[Example]) -> list[Example]:
    return random_shots(train, min(trial.method.num_shots, len(train)), trial.method.icl_seed)


Place = tuple[str, str | None, str | None, str | None]
"""Of a dataset: its name, its declaration as JSON, its path and its revision."""


def _home(trial: Trial) -> Place:
    return trial.dataset, trial.fields["declared"], trial.dataset_path, trial.dataset_revision


def _tested(trial: Trial) -> Place:
    if trial.test_dataset is None:
        return _home(trial)
    return trial.test_dataset, trial.fields["test_declared"], trial.test_dataset_path, trial.test_dataset_revision


@cache
def _splits(name: str, declared: str | None, path: str | None, revision: str | None) -> tuple[Splits, str | None]:
    """The dataset's splits where they lie on this machine, or else a made-up example and the reason."""
    dataset = dataset_of(name, declared)
    made_up = {"train": [MADE_UP], "test": [MADE_UP]}
    if not is_here(dataset, read_declared(declared) if declared else None, path):
        return made_up, f"the example is made up: a dry run downloads nothing (dataset_path names a copy of {name})"
    try:
        return dataset.load(path, revision), None
    except (OSError, ValueError) as error:
        return made_up, f"the example is made up: {error}"


@cache
def _tokenizer(source: str) -> Any:
    """The tokenizer of a model whose files are on this machine; None where they are not."""
    from transformers import PreTrainedTokenizerFast

    folder = Path(source).expanduser()
    try:
        found = PreTrainedTokenizerFast.from_pretrained(
            str(folder if folder.is_dir() else source), local_files_only=True
        )
    except (OSError, ValueError, ImportError):
        return None
    return found if found.eos_token_id is not None else None
