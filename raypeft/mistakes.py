"""How a mistake is told to whoever made it: what was expected, what was there, and the known name nearest to it.

f"{place}: {must_be_one_of(METHODS, 'lara')}"  # ...: must be one of icl, lora but got 'lara'; did you mean lora?
"""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def must_be_one_of(known: Iterable[str], value: Any) -> str:
    """The message for a value that is none of the known names."""
    names = list(known)
    return f"must be one of {', '.join(names)} but got {described(value)}{nearest(value, names)}"


def number_of(things: int, name: str) -> str:
    """How many of a thing there are: `1 trial`, `3 trials`."""
    return f"{things} {name}{'' if things == 1 else 's'}"


def some(names: Iterable[str], most: int = 3) -> str:
    """The first of many names, and how many more there are: `a, b, c and 4 more`."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


SYNONYMS = {
    "alpha": ("lora_alpha",),
    "base_model": ("model",),
    "column": ("prompt",),
    "count": ("num_samples",),
    "dropout": ("lora_dropout",),
    "early_terminate": ("scheduler",),
    "epochs": ("num_train_epochs",),
    "instruction": ("prompt",),
    "lr": ("learning_rate",),
    "method": ("tuning_method", "search"),
    "methods": ("tuning_method",),
    "model_name_or_path": ("model",),
    "num_epochs": ("num_train_epochs",),
    "output": ("answer",),
    "peft": ("tuning_method",),
    "qlora": ("qlora_4bit",),
    "r": ("lora_r",),
    "rank": ("lora_r",),
    "run_cap": ("num_samples",),
    "shots": ("num_shots",),
}
"""What other tools and papers call it, and its name here; where there are several, one that is known at its place."""


def nearest(word: Any, known: Iterable[str]) -> str:
    """`; did you mean lora?` where a known name is near enough or has the word as another name, else nothing."""
    names, plain = list(known), str(word).casefold()
    same = [name for name in names if name.casefold() == plain or name in SYNONYMS.get(plain, ())]
    close = same or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def described(value: Any) -> str:
    """A value as a message names it; long lists and mappings are cut."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, dict)):
        return f"a {'list' if isinstance(value, list) else 'mapping'} ({json.dumps(value, default=str)[:60]})"
    return repr(value)


def page(name: str) -> str:
    """The path of a page of the documentation, such as `sandbox.md`, on this machine: in the checkout, or in the
    installed package. A path below the current folder is told from there."""
    package = Path(__file__).parent
    places = [package.parent / "docs" / name, package / "docs" / name]
    found = next((place for place in places if place.is_file()), places[0])
    return str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)
