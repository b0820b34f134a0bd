"""What `raypeft sweep NAME --dry-run` says of the data that is on this machine: rows, splits, lengths, leakage.

Downloads nothing and imports neither torch nor Transformers: tokens are counted by the tokenizer's own library.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

from raypeft.data import is_here
from raypeft.data.declared.dataset import Loaded, load
from raypeft.data.declared.files import told
from raypeft.data.declared.mix import MixedData
from raypeft.data.text import plain
from raypeft.models.table import family_of
from raypeft.prompting.forms import render
from raypeft.prompting.room import Room
from raypeft.records import Example, Form, Splits
from raypeft.retrieval.duplicates import exact_duplicates, same_instruction
from raypeft.retrieval.near_texts import nearly_in
from raypeft.study.config import Trial
from raypeft.trial import examples
from raypeft.trial.encoders import trial_form
from raypeft.trial.searching import stop_strings

LOOKED_AT = 2_000
"""Prompts of a split for which nearly the same ones are looked for; of more than these a sample is taken."""
Line = tuple[str, bool]
"""A line of the report, and whether it warns."""


def data_report(trials: Sequence[Trial]) -> Iterator[Line]:
    """The lines on each dataset that is declared, or read from a folder on this machine, and each test_dataset."""
    groups: dict[tuple[str, str | None, str | None], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.dataset, trial.fields["declared"], trial.dataset_path), []).append(trial)
    for of_data in groups.values():
        yield from _of_data(of_data)
    places = ("data_name", "dataset_path", "test_dataset_path", "declared", "test_declared")
    pairs = {repr([getattr(trial, name) for name in places]): trial for trial in trials if trial.test_dataset}
    for trial in pairs.values():
        yield from _of_pair(trial)


def _of_data(trials: Sequence[Trial]) -> Iterator[Line]:
    """The lines on the dataset of some trials, as far as it can be read here."""
    name, path, declared = trials[0].dataset, trials[0].dataset_path, trials[0].declared
    if isinstance(declared, MixedData):
        yield from _of_mix(trials[0], declared)
    elif declared is not None and declared.content is None:
        yield f"\ndata {name}: {declared.path} is not on this machine and is read when trials run", False
    elif declared is not None:
        loaded = load(name, declared)
        yield f"\ndata {name}", False
        yield from _rows(loaded)
        yield from _of_splits(loaded.splits, trials, _made(loaded, declared.split.seed))
        yield from _ends(trials)
    elif path is not None and "://" not in path:
        yield f"\ndata {name}: {path}", False
        try:
            splits = trials[0].data.load(path, trials[0].dataset_revision)
        except (OSError, ValueError) as error:
            yield f"  cannot be read, so that its trials will fail: {error}", True
        else:
            yield from _of_splits(splits, trials, "")


def _ends(trials: Sequence[Trial]) -> Iterator[Line]:
    """What ends the answers of untuned models, which depends on the form of the prompt. A `test_dataset` has its own
    ends.
    """
    forms: dict[tuple[str, ...], set[str]] = {}
    for trial in trials:
        if not trial.method.trains and not trial.test_dataset:
            name = "prompt_template" if trial.prompt_template else f"prompt_form {trial.prompt_form or 'null'}"
            forms.setdefault(stop_strings(trial, trial.data, _form(trial)), set()).add(name)
    for stops, names in forms.items():
        asked = f" ({', '.join(sorted(names))})" if len(forms) > 1 else ""
        ends = f" at {' or '.join(map(json.dumps, stops))}, or" if stops else ""
        yield f"  an answer of an untuned model{asked} ends{ends} with its end-of-sequence token", False


def _of_mix(trial: Trial, mix: MixedData) -> Iterator[Line]:
    """The lines on datasets that are trained on together: how much each of them gives."""
    yield f"\ndata {trial.dataset}, a mix", False
    for dataset, part in zip(trial.data.parts, mix.mix, strict=True):
        if not is_here(dataset, part.declared, part.dataset_path):
            yield f"  {part.name} cannot be read without a download", False
            continue
        try:
            loaded = load(part.name, part.declared) if part.declared else None
            splits = loaded.splits if loaded else dataset.load(part.dataset_path, part.dataset_revision)
        except (OSError, ValueError) as error:
            yield f"  {part.name} cannot be read, so that its trials will fail: {error}", True
        else:
            yield from _rows(loaded) if loaded else ()
            counts = ", ".join(f"{split} {len(splits[split]):,}" for split in ("train", "validation"))
            yield f"  of {part.name}: {counts}", False


def _of_pair(trial: Trial) -> Iterator[Line]:
    """The lines on a trial that is tested on another dataset: what of the test split could be learned in training."""
    yield f"\ndata {trial.data_name}", False
    sides = [
        (trial.data, trial.declared, trial.dataset_path),
        (trial.test_data, trial.test_declared, trial.test_dataset_path),
    ]
    if missing := [side[0].name for side in sides if not is_here(*side)]:
        yield f"  leakage: not known, since {' and '.join(missing)} cannot be read without a download", False
        return
    try:
        splits = examples.loaded(trial)
    except (OSError, ValueError) as error:
        yield f"  cannot be read, so that its trials will fail: {error}", True
        return
    kept, columns = examples.without_same_sources(splits, trial)
    counts = ", ".join(f"{split} {len(found):,}" for split, found in splits.items())
    yield f"  examples: {counts} (of {trial.test_dataset})", False
    if columns:
        yield (f"  {columns['train_of_test_sources']:,} examples to train or validate on are left out: they have the "
               f"source of a test example"), True  # fmt: skip
    yield from _repeated(kept)


def _rows(loaded: Loaded) -> Iterator[Line]:
    for source, count in loaded.read.items():
        dropped = loaded.dropped.get(source, [])
        yield f"  {source}: {count:,} rows read" + (f", {len(dropped):,} dropped" if dropped else ""), False
        yield from ((f"    {line}", True) for line in told(dropped))
    for repeated in loaded.renamed.values():
        yield from ((f"    {line} ({len(repeated):,} rows)", True) for line in told(repeated))


def _made(loaded: Loaded, seed: int) -> str:
    if not loaded.made:
        return ""
    return f" ({' and '.join(loaded.made)} made by a hash of the prompt, seed {seed})"


def _of_splits(splits: Splits, trials: Sequence[Trial], made: str) -> Iterator[Line]:
    counts = ", ".join(f"{split} {len(examples):,}" for split, examples in splits.items())
    yield f"  examples: {counts}{made}", False
    examples = [example for found in splits.values() for example in found]
    models = {trial.model: tokenizer_of(trial) for trial in trials}
    for what, texts in (("prompts", [each.asked for each in examples]), ("answers", [each.code for each in examples])):
        if any(texts):
            yield f"  {what}: {_spread(list(map(len, texts)))} characters", False
            for model, tokenizer in models.items():
                if tokenizer is not None:
                    yield f"    {_spread(token_counts(tokenizer, texts))} tokens of {model}", False
    yield from _too_long(examples, trials, models)
    yield from _repeated(splits)


def _spread(lengths: Sequence[int]) -> str:
    ordered = sorted(lengths)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95)]
    return f"median {at[0]:,}, 95 % at most {at[1]:,}, longest {ordered[-1]:,}"


def _too_long(examples: Sequence[Example], trials: Sequence[Trial], models: dict[str, Any]) -> Iterator[Line]:
    """For each limit on answers, how many references it cuts, as far as tokenizers are at hand."""
    asked = dict.fromkeys((trial.model, trial.max_new_tokens or trial.data.max_new_tokens) for trial in trials)
    answered = [each for each in examples if each.code]
    answers = [each.code for each in answered]
    if any(limit is None for _, limit in asked):
        rooms = {trial.model: _room(trial) for trial in trials}
        forms = {trial.model: _form(trial) for trial in trials}
        known = [model for model, limit in asked if limit is None and models[model] is not None]
        lengths = {model: _lengths(models[model], answered, forms[model]) for model in known}
        each = ", ".join(f"{rooms[model].for_answers(lengths[model])} tokens of {model}" for model in known)
        yield f"  max_new_tokens: the length of the longest answer{f' ({each})' if each else ''}", False
        for model in known:
            yield from _without_room(model, rooms[model], answered, lengths[model])
    for model, limit in asked:
        tokenizer = models[model]
        if limit is not None and tokenizer is not None:
            cut = sum(count >= limit for count in token_counts(tokenizer, answers))  # one token is the answer's end
            if cut:
                share = 100 * cut / len(answers)
                yield (f"  {cut:,} answers ({share:.1f} %) are longer than max_new_tokens {limit} of {model}: no "
                       f"candidate can match them"), True  # fmt: skip


def _room(trial: Trial) -> Room:
    architecture = family_of(trial.model, trial.model_path).architecture
    return Room(architecture.context_length, architecture.is_encoder_decoder) if architecture else Room()


def _form(trial: Trial) -> Form:
    return trial_form(trial, trial.data, _room(trial).is_encoder_decoder)


def _lengths(tokenizer: Any, answered: Sequence[Example], form: Form) -> list[tuple[int, int]]:
    """Tokens of each prompt without shots, and of its answer with its end. A chat template's own text is not known."""
    prompts = token_counts(tokenizer, [each.asked if form.chat else render(each, (), form) for each in answered])
    answers = token_counts(tokenizer, [each.code for each in answered])
    return [(prompt, answer + 1) for prompt, answer in zip(prompts, answers, strict=True)]


def _without_room(
    model: str, room: Room, answered: Sequence[Example], lengths: Sequence[tuple[int, int]]
) -> Iterator[Line]:
    """That a model's context is too short for the longest answer, or for the prompts of others beside it."""
    answers = [answer for _, answer in lengths]
    longest = max(answers)
    lost = sum(not room.fits(prompt, longest) for prompt, _ in lengths)
    if lost:
        row = answered[answers.index(longest)].id
        less = ", so that max_new_tokens is less" if room.for_answers(lengths) < longest else ""
        line = f"  the longest answer, of example {row}, has {longest:,} tokens of {model}: beside it {lost:,} of "
        yield f"{line}{len(lengths):,} prompts do not fit the context of {room.context_length:,} tokens{less}", True


def _repeated(splits: Splits) -> Iterator[Line]:
    """Prompts that stand more than once, and test prompts that stand in the training split as well."""
    answers: dict[str, set[str]] = {}
    prompts = Counter[str]()
    for example in splits["train"]:
        prompts[plain(example.asked)] += 1
        answers.setdefault(plain(example.asked), set()).add(example.code)
    if twice := sum(count > 1 for count in prompts.values()):
        differing = sum(len(found) > 1 for found in answers.values())
        yield f"  train: {twice:,} prompts stand more than once, {differing:,} of them with different answers", False
    if not splits["train"]:
        return
    yield from _leaks(splits)


def _leaks(splits: Splits) -> Iterator[Line]:
    """How many prompts of the other splits are those of the training split, or nearly."""
    for split in ("validation", "test"):
        total, same = len(splits[split]), exact_duplicates(splits["train"], splits[split])
        near = _near(splits["train"], splits[split])
        sample = f" of {LOOKED_AT:,} looked at" if total > LOOKED_AT else ""
        if same or near or (split == "test" and total):
            told = "leakage: " if split == "test" else ""
            line = f"  {told}{same:,} of {total:,} {split} prompts are in train as well, {near:,} more{sample} but for "
            yield line + "numbers, quoted text, punctuation and a few characters", same > 0


def _near(train: Sequence[Example], others: Sequence[Example]) -> int:
    """How many of the others, or of a sample of them, have nearly a prompt of `train`, but not the same."""
    asked = list(compress(others, (not rows for rows in same_instruction(train, others))))
    return len(nearly_in((each.asked for each in train), [each.asked for each in examples.sample(asked, LOOKED_AT)]))


def tokenizer_of(trial: Trial) -> Any:
    """The tokenizer of a model whose files are on this machine, as `tokenizers.Tokenizer`; None where they are not."""
    return _tokenizer(trial.model_path or family_of(trial.model).home)


@cache
def _tokenizer(source: str) -> Any:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError
    from tokenizers import Tokenizer

    file = Path(source).expanduser() / "tokenizer.json"
    if not file.is_file():
        try:
            found = try_to_load_from_cache(source, "tokenizer.json")
        except HFValidationError:  # a GGUF file
            return None
        if not isinstance(found, str):
            return None
        file = Path(found)
    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # the library raises plain Exception for a file that it cannot read
        return None


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text, without special tokens."""
    return [len(each.ids) for each in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
