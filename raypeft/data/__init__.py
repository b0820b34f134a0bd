"""The datasets, one file each. To add one, write its file and list it here.

`declared` has those of the user's own.
"""

from raypeft.data import apps, codealpacapy, conala, conala_tests, humaneval, mbpp, odex, toy, toy_apps
from raypeft.data.declared.dataset import as_dataset
from raypeft.data.declared.declaration import DeclaredData, read_declared
from raypeft.records import Dataset

_ALL = (toy, toy_apps, conala, conala_tests, codealpacapy, apps, mbpp, humaneval, odex)
DATASETS: dict[str, Dataset] = {each.DATASET.name: each.DATASET for each in _ALL}
"""Name in a sweep file -> dataset."""


def dataset_of(name: str, declared: DeclaredData | str | None = None) -> Dataset:
    """The dataset of this name: as declared (a record, or its JSON text in a row of the results), or a built-in one.

    Raises KeyError where there is none.
    """
    return as_dataset(name, read_declared(declared)) if declared else DATASETS[name]
