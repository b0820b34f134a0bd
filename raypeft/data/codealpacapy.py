"""CodeAlpacaPy: the Python part of CodeAlpaca (Chaudhary 2023), as arXiv 2308.10462v3 selects it.

https://huggingface.co/datasets/antolin/codealpaca-filtered: 2,192 / 314 / 628 rows. Its second split is `valid`.

    nl:  Write a Python function that reverses a list.
    cmd: def reverse(items):
             return items[::-1]

(The row above shows the form; it is not taken from the dataset.)

The raw CodeAlpaca (https://github.com/sahil280114/codealpaca, `code_alpaca_20k.json` or `code_alpaca_2k.json`, columns
instruction, input, output) can be used as well: give its file as dataset_path. About its selection the paper only says
that the samples are Python and can be parsed. raypeft selects by these rules:

- The intent is the instruction. If there is an input, it follows on a new line.
- The intent contains "python", in upper or lower case.
- The output is not empty, and `ast.parse` of the running Python accepts it. It is parsed and never run.

This keeps 240 of the 2,017 rows of `code_alpaca_2k.json`; "python" in the instruction alone would keep 235. Some of the
240 are poor: five mention Python only in their input, some of them as a word of a text to process, and a few outputs
are a single word. It is not known whether the hub's rows were selected by the same rules, and the split of the raw file
is our own. So do not compare scores on the hub's data with scores on the raw file.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from raypeft.data.sources import FORMATS, Columns, read_rows, read_splits
from raypeft.records import Dataset, Example, Splits
from raypeft.sandbox.asserts import parse_code

NAME = "codealpacapy"
HUB_ID = "antolin/codealpaca-filtered"

SPLIT_SEED = 42
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2
"""Shares of the raw file's intents; the rest is for training. The hub's splits have 69.9 / 10.0 / 20.0 percent of its
rows."""


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the three splits from the hub, a folder or URL with `train`, `validation` and `test` files, or one raw file.

    A `source` that ends in .json, .jsonl or .parquet is one file of raw CodeAlpaca, from which the Python rows are
    selected and split. The id of an example is then its row in that file, counted from 0.

    Raises ValueError for missing columns, for empty rows, and for a raw file with too few Python rows (the message says
    how many rows were left out and why). Raises FileNotFoundError if the source does not exist.
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
    """The Python rows of raw CodeAlpaca by the rules above, and the number of rows left out, by reason."""
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

    The split of an intent depends only on its text and SPLIT_SEED, not on the order of the rows or the version of
    Python. Rows with the same intent stay together, so no intent of the test split is in the training split.
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
    """Whether the parser of the running Python accepts `code` as a program. Nothing is run.

    Never raises and never warns. Code that is nested too deeply for the parser is not accepted.
    """
    try:
        parse_code(code)
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
    test_size=628,
    longest_tokens=264,  # 263 with SmolLM2's tokenizer in 168 rows; the paper's code cuts at 192
    # Answers have several lines, with blank ones between them; untuned models go on with a next instruction.
    untuned_stop=("\n### Instruction:",),
    paper_stop=("<|endoftext|>", "</s>"),
)
