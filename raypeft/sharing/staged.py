"""The folder that is shared: what others may have of a sweep's results, laid out for the hub.

    staged = stage(store, Path("staging"))
    staged.dataset        # README.md, manifest.json, report.html, trials/all.parquet, evals/..., example_scores/...
    staged.model          # adapters/<trial id>/ with model cards; None where no adapter was kept

Each table is one file: a row takes 50 times as much room alone as with others, and a reader asks the network once.
Text of datasets is left out unless it is asked for, since their licences need not allow it to be passed on: the tables
`candidates` and `tests` stay, and the report is made again without examples.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raypeft.analysis.report.page import make_page, write_page
from raypeft.analysis.report.study import open_study
from raypeft.machine import quiet_libraries
from raypeft.results.gathered import whole_table
from raypeft.results.store import MANIFEST, TOGETHER, ResultStore
from raypeft.sharing.private import cleaner
from raypeft.sharing.readmes import dataset_card, model_card

PLAIN = ("trials", "evals", "example_scores")
"""Tables without any text of a dataset."""
WITH_TEXT = ("candidates", "tests")
TABLES = (*PLAIN, *WITH_TEXT)
REPORT = "report.html"
TEXTS = {".json", ".md", ".txt", ".yaml"}
"""Endings of an adapter's files that are looked through for secrets; a tokenizer's vocabulary has none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shared besides rows and scores."""

    with_text: bool = False
    """Also candidates, tests, and the examples of the report."""
    adapters: bool = True


@dataclass(frozen=True, slots=True)
class Staged:
    """Folders that are ready to be shared."""

    dataset: Path
    model: Path | None
    tables: Mapping[str, int]
    """Table -> number of rows."""
    left_out: tuple[str, ...]
    """Tables of the results folder that are not shared."""

    @property
    def adapters(self) -> list[str]:
        """Ids of the trials whose adapters are shared."""
        return sorted(path.name for path in (self.model / "adapters").iterdir()) if self.model else []


def stage(store: ResultStore, folder: Path, wanted: Wanted, say: Callable[[str], None] = print) -> Staged:
    """Lay out what is shared of `store` below `folder`, which is empty. `say` hears of each adapter.

    Raises ValueError for results without any row, and where an adapter's base or data cannot be loaded.
    """
    dataset, model = folder / "dataset", folder / "model"
    tables: dict[str, int] = {}
    for table in (*PLAIN, *(WITH_TEXT if wanted.with_text else ())):
        if found := whole_table(store, table):
            clean = _cleaned_rows(found) if table == "trials" else found
            (dataset / table).mkdir(parents=True)
            pq.write_table(clean, dataset / table / f"{TOGETHER}.parquet", compression="zstd")
            tables[table] = len(clean)
    if "trials" not in tables:
        raise ValueError(f"{store.url} must hold rows of trials but holds none")
    if store.exists(MANIFEST):
        plain = json.loads(store.read_bytes(MANIFEST))
        plain.pop("left_out", None)  # other files are left out here; who goes on from them notes it
        (dataset / MANIFEST).write_text(cleaner()(json.dumps(plain, indent=1, ensure_ascii=False)), "utf-8")
    shared = _adapters(store, dataset, model, say) if wanted.adapters else []
    write_page(make_page(open_study([str(dataset)])), dataset / REPORT)
    left_out = tuple(table for table in WITH_TEXT if table not in tables and store.infos(table))
    (dataset / "README.md").write_text(dataset_card(dataset, tables, len(shared), left_out), "utf-8")
    return Staged(dataset, model if shared else None, tables, left_out)


def _cleaned_rows(trials: pa.Table) -> pa.Table:
    """The rows of trials without secrets, and without the name of the machine."""
    cleaned = cleaner()
    rows = trials.to_pylist()
    for row in rows:
        row.update({name: cleaned(value) for name, value in row.items() if isinstance(value, str)})
        if "host" in row:
            row["host"] = None
    return pa.Table.from_pylist(rows, schema=trials.schema)


def _adapters(store: ResultStore, dataset: Path, model: Path, say: Callable[[str], None]) -> list[str]:
    """Write the adapters that were kept with their model cards; returns the ids of their trials.

    Cards are made from the rows that are shared. Raises ValueError where a base or data cannot be loaded.
    """
    study = open_study([str(dataset)])
    kept = [row for row in study.rows if store.exists(f"adapters/{row['id']}")]
    if not kept:
        return []
    quiet_libraries()
    from raypeft.models.loading import BaseCache
    from raypeft.trial.exporting import export

    bases, ids = BaseCache(), []
    for row in sorted(kept, key=lambda row: (str(row["model"]), str(row["tuning_method"]))):  # a base is loaded once
        ids.append(str(row["id"]))
        try:
            export(store, ids[-1], model / "adapters" / ids[-1], shared=True, bases=bases)
        except (OSError, ValueError) as error:
            raise ValueError(f"the card of the adapter of trial {ids[-1]} needs its base model and its data, but: "
                             f"{error}; --no-adapters shares the rest") from error  # fmt: skip
        say(f"adapter of trial {ids[-1]}: its model card was written")
    cleaned = cleaner()
    for file in (path for path in model.rglob("*") if path.suffix in TEXTS and path.name != "tokenizer.json"):
        file.write_text(cleaned(file.read_text("utf-8")), "utf-8")
    (model / "README.md").write_text(model_card(study, ids), "utf-8")
    return ids
