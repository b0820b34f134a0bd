"""The datasets, one file each. To add one, write its file and list it here.

`declared` has those of the user's own.
"""

from raypeft.data import apps, codealpacapy, conala, conala_tests, humaneval, mbpp, odex, toy, toy_apps
from raypeft.data.declared.dataset import as_dataset
from raypeft.data.declared.declaration import DeclaredData
from raypeft.data.declared.mix import MixedData, mixed, read_declared
from raypeft.mistakes import must_be_one_of
from raypeft.records import Dataset

_ALL = (toy, toy_apps, conala, conala_tests, codealpacapy, apps, mbpp, humaneval, odex)
DATASETS: dict[str, Dataset] = {each.DATASET.name: each.DATASET for each in _ALL}
"""Name in a sweep file -> dataset."""


def data_name(dataset: str, test_dataset: str | None) -> str:
    """The data of a trial for people: `toy`, or `toy->odex` where it trains on one and is tested on the other."""
    return dataset if test_dataset in (None, dataset) else f"{dataset}->{test_dataset}"


def dataset_of(name: str, declared: DeclaredData | MixedData | str | None = None) -> Dataset:
    """The dataset of this name: a built-in one, or a declared one or a mix (a record, or its text in a row of results).

    Raises ValueError where there is none.
    """
    found = read_declared(declared)
    if isinstance(found, MixedData):
        return mixed(name, [(dataset_of(part.name, part.declared), part.dataset_path, part.dataset_revision)
                            for part in found.mix])  # fmt: skip
    if found:
        return as_dataset(name, found)
    if name not in DATASETS:
        raise ValueError(f"dataset {must_be_one_of(DATASETS, name)}, or the raypeft that knows it must be installed")
    return DATASETS[name]


def is_here(dataset: Dataset, declared: DeclaredData | MixedData | None, path: str | None) -> bool:
    """Whether a dataset can be read without a network: it comes with raypeft, or its files are on this machine."""
    if isinstance(declared, MixedData):
        parts = zip(dataset.parts, declared.mix, strict=True)
        return all(is_here(each, part.declared, part.dataset_path) for each, part in parts)
    if declared:
        return declared.content is not None
    return dataset.embedded or (path is not None and "://" not in path)
