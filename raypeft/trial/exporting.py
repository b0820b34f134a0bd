"""A finished trial's model as a folder that works without raypeft: adapter or whole weights, tokenizer, model card.

    export(store, "61da8be3c4", Path("my_adapter"))
    export(store, "61da8be3c4", Path("my_model"), merged=True)

The card (README.md) says what the model was trained on, how it scored, and how to ask it: its snippet has the prompt
template, the stop strings and the decoding of the trial. `raypeft_prompt.json` has them for programs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raypeft.methods import Adapter
from raypeft.models.loading import BaseCache
from raypeft.records import Example
from raypeft.results.chosen import chosen
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.encoders import trial_encoder
from raypeft.trial.model_card import card
from raypeft.trial.searching import stop_strings
from raypeft.trial.trying import Asked

PLACEHOLDER = "{nl}"
PROMPT_FILE = "raypeft_prompt.json"


def export(
    store: ResultStore,
    trial_id: str,
    folder: Path,
    merged: bool = False,
    shared: bool = False,
    bases: BaseCache | None = None,
) -> str:
    """Write a trial's model into a folder, and return what was written.

    With `shared`, for other people: a base that is on the hub is named by its hub id, and no path of this machine is
    told. `bases` holds the base model where several trials are exported.

    Raises ValueError where the trial's weights were not kept, where there is nothing to merge, or where the folder is
    not empty, and what loading raises.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--to must be a new or empty folder but got {folder}")
    row = dict(chosen(store.read_rows(), trial_id, store.url))
    trial = make_trial({name: value for name, value in row.items() if value is not None})
    if not trial.method.trains:
        raise ValueError(f"--trial must be one that trained something but {row['id']} is {trial.tuning_method}")
    if merged and isinstance(trial.method, Adapter) and not hasattr(trial.method, "target_modules"):
        raise ValueError(f"--merged must be left out for {trial.tuning_method}, whose virtual tokens cannot become a "
                         f"part of the weights")  # fmt: skip
    asked = Asked.of(store, trial_id, bases)
    base = base_of(asked, shared)
    whole = asked.adapter is None or merged
    folder.mkdir(parents=True, exist_ok=True)
    if whole:
        _write_weights(asked, folder)
    else:
        assert asked.adapter is not None
        store.read_folder(asked.adapter, folder)
        _name_base(folder, base)
    asked.base.tokenizer.save_pretrained(folder)
    prompt = how_to_ask(asked)
    (folder / PROMPT_FILE).write_text(json.dumps(prompt, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(card(row, prompt, base, merged=whole), "utf-8")
    what = "the weights" if whole else f"the adapter ({', '.join(row.get('adapted_layers') or ['virtual tokens'])})"
    return f"{folder} has {what} of trial {row['id']}, its tokenizer and a model card (README.md)"


def base_of(asked: Asked, shared: bool = False) -> dict[str, str | None]:
    """Where the base model is: a hub id with its revision, or the absolute path of a local folder.

    With `shared`, a local folder is told by the model's hub id, or by its name alone where it has none.
    """
    trial = asked.context.trial
    source = trial.model_path or asked.base.family.home
    local = Path(source).expanduser()
    if local.exists():
        if shared:
            home = asked.base.family.home
            return {"source": trial.model if Path(home).is_absolute() else home, "revision": None}
        return {"source": str(local.absolute()), "revision": None}
    return {"source": source, "revision": trial.model_revision or asked.base.revision}


def how_to_ask(asked: Asked) -> dict[str, Any]:
    """The prompt as the model reads it, with `{nl}` for the instruction; stop strings; `generate`'s arguments."""
    context, trial = asked.context, asked.context.trial
    encoder = trial_encoder(context, asked.base)
    example = Example("exported", PLACEHOLDER, "")
    ids = encoder.encode(example).prompt_ids
    text = asked.base.tokenizer.decode(ids, skip_special_tokens=False)
    if text.count(PLACEHOLDER) != 1:  # a tokenizer that does not give the text back
        text = encoder.text(example)
    search = {"do_sample": True, "temperature": trial.temperature, "top_p": trial.top_p} if trial.do_sample else {
        "do_sample": False, "num_beams": trial.num_beams}  # fmt: skip
    return {
        "prompt": text,
        "stop": [*stop_strings(context.trial, context.dataset, encoder.form)],
        "generate": {**search, "max_new_tokens": context.max_new_tokens},
        "is_encoder_decoder": asked.base.is_encoder_decoder,
    }


def _write_weights(asked: Asked, folder: Path) -> None:
    """The weights of full fine-tuning, or the base with the adapter merged into it."""
    if asked.adapter is None:
        asked.base.model.save_pretrained(folder)
        return
    from peft import PeftModel

    # An adapter that was trained on quantised weights is merged into weights that are not.
    name, path, revision, weights = asked.context.trial.base_key
    if weights in ("int8", "nf4"):
        asked.context.bases.drop()
        base = asked.context.bases.get(name, path, revision, "half")
    else:
        base = asked.base
    with tempfile.TemporaryDirectory() as adapter:
        asked.context.store.read_folder(asked.adapter, Path(adapter))
        PeftModel.from_pretrained(base.model, adapter).merge_and_unload(safe_merge=True).save_pretrained(folder)
    asked.context.bases.drop()


def _name_base(folder: Path, base: Mapping[str, str | None]) -> None:
    """Let the adapter name its base so that it is found from anywhere."""
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text("utf-8"))
    config["base_model_name_or_path"], config["revision"] = base["source"], base["revision"]
    file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
