"""CoNaLa: intents from Stack Overflow, each answered by a line of Python (Yin et al., arXiv 1805.08949).

https://huggingface.co/datasets/neulab/docprompting-conala: 2,135 / 201 / 543 rows, split by Zhou et al. (arXiv
2207.05987) so that each test example needs a function that no training example uses.

    nl:  reverse a list `x`
    cmd: x[::-1]

(The row above shows the form; it is not taken from the dataset.)
"""

from raypeft.data.sources import Columns, read_splits
from raypeft.data.stack_overflow import question_of
from raypeft.records import Dataset, Splits

HUB_ID = "neulab/docprompting-conala"


def load(source: str | None = None, revision: str | None = None) -> Splits:
    """Load the three splits from the hub, or from a folder or URL with `train`, `validation` and `test` files.

    Raises ValueError for missing columns or empty rows, and FileNotFoundError if the source does not exist.
    """
    return read_splits("conala", HUB_ID, source, revision, Columns(id="question_id", nl="nl", code="cmd"))


DATASET = Dataset(
    name="conala",
    load=load,
    max_new_tokens=64,
    test_size=543,
    longest_tokens=128,  # 117 with SmolLM2's tokenizer; the paper's code pads to 128
    # Untuned models continue after the line of the answer. So they cannot match the 33 of 543 test references that
    # have several lines.
    untuned_stop=("\n",),
    paper_stop=("<|endoftext|>", "</s>", "\n"),
    source_of=question_of,
)
