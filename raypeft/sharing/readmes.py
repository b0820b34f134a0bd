"""The cards of shared results: Markdown with the metadata by which the hub and `datasets` find the tables.

text = dataset_card(folder, {"trials": 12, "evals": 40}, adapters=3, left_out=["candidates"])
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raypeft.analysis.report.panels import panels
from raypeft.analysis.report.printed import markdown_report
from raypeft.analysis.report.study import Study, open_study
from raypeft.analysis.settings import data_of, settings
from raypeft.markdown import markdown_table
from raypeft.models.table import family_of
from raypeft.results.store import TOGETHER

MARK = "raypeft-results"
"""The tag by which shared results are known again."""
ABOUT = {
    "trials": "one row a trial: its fields, scores, cost and versions",
    "example_scores": "the score of each test example, by which trials are compared",
    "evals": "losses at each evaluation during training",
    "candidates": "each generated program with its instruction and reference answer",
    "tests": "the result of each test of each candidate",
}
"""The tables in the order of the card. The hub shows the first one first."""
NO_TEXT = (
    "Generated programs, instructions and reference answers are not part of it: the licence of a dataset need not "
    "allow them to be passed on. They can be made again from the sweep file."
)
Row = Mapping[str, Any]


def dataset_card(folder: Path, tables: Mapping[str, int], adapters: int, left_out: Sequence[str]) -> str:
    """The text of README.md of shared results, whose tables lie in `folder`.

    `tables` are their numbers of rows, `adapters` the number that are shared, `left_out` the tables that are not.
    """
    study = open_study([str(folder)])
    there = [name for name in ABOUT if name in tables]
    beside = f"Adapters ({adapters}) are in the model repository of the same name, or in `adapters/`."
    return "\n".join([
        *_header(there),
        f"# Results of {study.title}",
        "",
        *([study.sweeps[0].question, ""] if study.sweeps[0].question else []),
        f"{study.state}, made by raypeft {_versions(study.rows)}. `report.html` is the report as a page; "
        "`manifest.json` has the sweep file, the plan, and the meaning of each column.",
        "",
        *markdown_table(
            ("table", "rows", "content"), [(f"`{name}`", f"{tables[name]:,}", ABOUT[name]) for name in there]
        ),
        "",
        *([NO_TEXT, ""] if left_out else []),
        *([beside, ""] if adapters else []),
        "## How to read it",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'trials = load_dataset("OWNER/NAME", "trials", split="train")',
        "```",
        "",
        "With raypeft: `raypeft report hf://OWNER/NAME`, or `raypeft pull hf://OWNER/NAME --to results/theirs`.",
        "",
        "## Scores",
        "",
        markdown_report(study, panels(study)),
        "",
    ])  # fmt: skip


def _header(tables: Sequence[str]) -> list[str]:
    """The YAML by which the hub's viewer and `load_dataset` find each table."""
    lines = ["---", "tags:", "- raypeft", f"- {MARK}", "- code", "configs:"]
    for place, name in enumerate(tables):
        lines += [f"- config_name: {name}", f"  data_files: {name}/{TOGETHER}.parquet"]
        lines += ["  default: true"] if place == 0 else []
    return [*lines, "---", ""]


def _versions(rows: Sequence[Row]) -> str:
    return ", ".join(sorted({str(row["raypeft_version"]) for row in rows if row.get("raypeft_version")})) or "?"


def model_card(study: Study, adapters: Sequence[str]) -> str:
    """The text of README.md of the adapters of these trials, each in a folder of its own."""
    rows = [row for row in study.rows if row["id"] in set(adapters)]
    scores = [score for score in study.declared.scores if any(row.get(score.name) is not None for row in rows)][:3]
    told = [
        (f"`adapters/{row['id']}`", row["model"], data_of(row), f"{row['tuning_method']} {setting}",
         *(score.text(row[score.name]) if row.get(score.name) is not None else "" for score in scores))
        for row, setting in zip(rows, settings(rows, study.declared), strict=True)
    ]  # fmt: skip
    homes = dict.fromkeys(family_of(str(row["model"])).home for row in rows)
    bases = [json.dumps(home) for home in homes if not Path(home).is_absolute()]
    return "\n".join([
        "---",
        *(["base_model:", *(f"- {base}" for base in bases)] if bases else []),
        "library_name: peft", "tags:", "- raypeft", f"- {MARK}", "- code",
        "---",
        "",
        f"# Adapters of {study.title}",
        "",
        "Each folder is an adapter in PEFT's format with its tokenizer and a model card of its own: its scores, "
        "its prompt and a snippet. The rows of all trials are in the dataset repository of the same name.",
        "",
        *markdown_table(("adapter", "base model", "data", "settings", *(score.title for score in scores)), told),
        "",
        "```python",
        "from peft import PeftModel",
        "",
        f'model = PeftModel.from_pretrained(base, "OWNER/NAME", subfolder="adapters/{adapters[0]}")',
        "```",
        "",
    ])  # fmt: skip
