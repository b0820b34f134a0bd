"""CodeAlpacaPy: the Python part of CodeAlpaca (Chaudhary 2023), as arXiv 2308.10462v3 selects it.

https://huggingface.co/datasets/antolin/codealpaca-filtered: 2,192 / 314 / 628 rows. Its second split is `valid`.

    nl:  Write a Python function that reverses a list.
    cmd: def reverse(items):
             return items[::-1]

(The row above shows the form; it is not taken from the dataset.)

The raw CodeAlpaca (https://github.com/sahil280114/codealpaca, `code_alpaca_20k.json` or `code_alpaca_2k.json`, columns
instruction, input, output) serves as well, named as dataset_path. The paper says of its selection only that the samples
are Python and parse. Read here as:

- The intent is the instruction and, where there is an input, a newline and the input.
- The intent contains "python", in any case.
- The output has text, and `ast.parse` of the running Python accepts it. It is parsed, never run.

This keeps 240 of the 2,017 rows of `code_alpaca_2k.json`; "python" in the instruction alone would keep 235. Some of the
240 are poor: five mention Python in their input only, some as a word of a text to work on, and a few outputs are one
word. Whether the hub's rows were selected just so is not known, and the raw file's split is this project's own: do not
compare scores across the two.
"""

import ast
import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

from raypeft.data.sources import FORMATS, Columns, read_rows, read_splits
from raypeft.records import Dataset, Example, Splits

NAME = "codealpacapy"
HUB_ID = "antolin/codealpaca-filtered"

SPLIT_SEED = 42
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2
"""Of the raw file's intents; the rest is for training. The hub's 2,192 / 314 / 628 are 69.9 / 10.0 / 20.0 percent."""


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """The three splits, from the hub, from a folder or URL with `train`, `validation` and `test` files, or from a file.

    A `source` that ends in .json, .jsonl or .parquet is one file of raw CodeAlpaca, from which the Python rows are
    selected and split; an example's id is then its row in that file, counted from 0.

    Raises ValueError for missing columns, empty rows and a raw file with too few Python rows, saying how many rows were
    left out and why; FileNotFoundError for a source that is not there.
    """
    if source is None or not source.endswith(FORMATS):
        return read_splits(NAME, HUB_ID, source, revision, Columns(id="id", nl="nl", code="cmd"))
    rows = read_rows(NAME, source)
    columns = dict.fromkeys(column for row in rows for column in row)
    missing = [column for column in ("instruction", "output") if column not in columns]
    if rows and missing:
        raise ValueError(
            f"{NAME}: {source} must have the columns of raw CodeAlpaca (instruction, input, output) but lacks "
            f"{', '.join(missing)}; it has {', '.join(columns)}. Rows of nl and cmd belong into a folder as train, "
            f"validation and test files, and the folder into dataset_path"
        )
    examples, left_out = select(rows)
    if len({example.nl for example in examples}) < 3:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise ValueError(
            f"{NAME}: {source} must have Python rows with at least 3 different intents, one a split, but "
            f"{len(examples)} of its {len(rows)} rows were kept{': ' if reasons else ''}{reasons}"
        )
    return split(examples)


def select(rows: Sequence[dict[str, Any]]) -> tuple[list[Example], Counter[str]]:
    """The Python rows of raw CodeAlpaca by the rule above, and how many of the others were left out, by reason."""
    examples: list[Example] = []
    left_out: Counter[str] = Counter()
    for index, row in enumerate(rows):
        instruction, given, code = (_text(row.get(column)) for column in ("instruction", "input", "output"))
        nl = f"{instruction}\n{given}" if given.strip() else instruction
        if not instruction.strip() or not code.strip():
            left_out["have no text in instruction or output"] += 1
        elif "python" not in nl.lower():
            left_out["do not mention Python"] += 1
        elif not parses(code):
            left_out["do not parse"] += 1
        else:
            examples.append(Example(str(index), nl, code))
    return examples, left_out


def split(examples: Sequence[Example]) -> Splits:
    """70 / 10 / 20 percent of the different intents as train, validation and test, each in the order of `examples`.

    An intent's place hangs on its own text and SPLIT_SEED: rows in another order split alike, the same under every
    version of Python, and rows of one intent stay together, so that no intent of the test split was trained on.
    """
    intents = sorted({example.nl for example in examples}, key=_lot)
    validation = max(1, round(VALIDATION_SHARE * len(intents)))
    test = max(1, round(TEST_SHARE * len(intents)))
    held_out = dict.fromkeys(intents[:validation], "validation") | dict.fromkeys(
        intents[validation : validation + test], "test"
    )
    splits: Splits = {"train": [], "validation": [], "test": []}
    for example in examples:
        splits[held_out.get(example.nl, "train")].append(example)
    return splits


def parses(code: str) -> bool:
    """Whether `code` is the text of a Python program to the parser of the running Python. Nothing of it is run.

    Never raises and never warns. Text that is too deeply nested for the parser does not parse.
    """
    with warnings.catch_warnings():
        # An invalid escape such as "\d" warns, and would be an error under -W error.
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes, lone surrogates
            return False
    return True


def _lot(intent: str) -> bytes:
    return hashlib.sha256(f"{SPLIT_SEED}\0{intent}".encode("utf-8", "surrogatepass")).digest()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


DATASET = Dataset(
    name=NAME,
    load=load,
    max_new_tokens=128,
    longest_tokens=264,  # 263 with SmolLM2's tokenizer in 168 rows; the paper's code cuts at 192
    # Answers have several lines, with blank ones between them; untuned models go on with a next instruction.
    untuned_stop=("\n### Instruction:",),
    paper_stop=("<|endoftext|>", "</s>"),
)
