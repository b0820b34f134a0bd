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


def data_name(dataset: str, test_dataset: str | None) -> str:
    """The data of a trial for people: `toy`, or `toy->odex` where it trains on one and is tested on the other."""
    return dataset if test_dataset in (None, dataset) else f"{dataset}->{test_dataset}"


def dataset_of(name: str, declared: DeclaredData | str | None = None) -> Dataset:
    """The dataset of this name: as declared (a record, or its JSON text in a row of the results), or a built-in one.

    Raises KeyError where there is none.
    """
    return as_dataset(name, read_declared(declared)) if declared else DATASETS[name]


def is_here(dataset: Dataset, declared: DeclaredData | None, path: str | None) -> bool:
    """Whether a dataset can be read without a network: it comes with raypeft, or its files are on this machine."""
    if declared:
        return declared.content is not None
    return dataset.embedded or (path is not None and "://" not in path)
