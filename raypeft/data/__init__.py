"""The datasets, one file each. To add one, write its file and list it here."""

from raypeft.data import apps, codealpacapy, conala, toy, toy_apps
from raypeft.records import Dataset

DATASETS: dict[str, Dataset] = {each.DATASET.name: each.DATASET for each in (toy, toy_apps, conala, codealpacapy, apps)}
"""Name in a sweep file -> dataset."""
