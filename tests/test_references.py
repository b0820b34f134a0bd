"""The reference pages say what the code says."""

import re
from pathlib import Path

import pytest

from raypeft.metrics.metric import READINGS
from raypeft.records import Column
from raypeft.study.config import NOT_SET
from raypeft.study.options import RunOptions
from raypeft.trial.columns import tables
from scripts import write_references
from scripts.write_references import DOCS, PAGES, columns_page, fields_page, models_with_fields


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_script_would_write(name: str) -> None:
    written = (DOCS / name).read_text("utf-8")
    assert written == PAGES[name](), f"docs/{name} is out of date: run `python -m scripts.write_references`"


@pytest.mark.parametrize("model", [*models_with_fields(), RunOptions], ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type) -> None:
    assert [name for name, info in model.model_fields.items() if not info.description] == []


def test_every_field_of_a_sweep_file_is_on_the_page() -> None:
    page = fields_page()
    names = {name for model in models_with_fields() for name in model.model_json_schema()["properties"]} - {
        *NOT_SET
    } | {"tuning_method"}
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []


def test_every_field_has_a_type_and_a_union_its_bound() -> None:
    page = fields_page()
    assert "| any" not in page
    assert "| `q` | number or integer or null | `null` | > 0 |" in page


def test_a_default_that_differs_under_the_papers_fidelity_is_on_the_page() -> None:
    assert "| `learning_rate` | number | `0.0003`; `0.003` under `fidelity: paper` | > 0 |" in fields_page()


def test_the_papers_defaults_for_a_dataset_are_on_the_page() -> None:
    assert '`apps` and `fidelity: paper`, `lora` has `target_modules: ["all-linear"]`' in fields_page()


def test_the_page_names_exactly_the_columns_that_there_are() -> None:
    page = columns_page()
    for table, columns in tables().items():
        section = page.split(f"## `{table}`")[1].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("| `")]
        named = [name for line in lines for name in names_on(line)]
        assert sorted(named) == sorted(column.name for column in columns)


def names_on(line: str) -> list[str]:
    """The columns for which a line of the page stands: its name, with every k, level and reading that it lists."""
    cells = line.strip("| ").split(" | ")
    family, description = cells[0].strip("`"), cells[-1]
    ks = re.search(r"\. k is ([\d, ]+)", description)
    levels = re.search(r"Also for each level: ([`\w, ]+)", description)
    readings = re.search(r"Also (`_.*)", description)
    parts = ["", *re.findall(r"`(_\w+)`", levels[1] if levels else "")]
    ends = ["", *re.findall(r"`(_\w+)`:", readings[1] if readings else "")]
    stems = [re.sub("_k$", f"_{k}", family) for k in ks[1].split(", ")] if ks else [family]
    return [stem + part + end for stem in stems for part in parts for end in ends]


def test_every_reading_of_a_score_is_folded_into_the_line_of_its_score() -> None:
    line = next(line for line in columns_page().splitlines() if line.startswith("| `em_at_k` |"))
    assert [name for name in READINGS if f"`_{name}`: " not in line] == []


def test_a_family_with_a_missing_member_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column(f"em_at_{k}", float, f"match among {k}") for k in (1, 2)]
    lone = Column("em_at_1_low", float, "match among 1" + write_references.READINGS["low"])
    monkeypatch.setattr(write_references, "tables", lambda: {"trials": [*columns, lone]})
    with pytest.raises(ValueError, match="every combination"):
        columns_page()


def test_the_script_writes_both_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_references, "DOCS", tmp_path)
    write_references.main()
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {
        name: page() for name, page in PAGES.items()
    }
