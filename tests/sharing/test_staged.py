"""What is shared of a results folder: tables that others can load, cards, a report, and no text of a dataset."""

import base64
import gzip
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from shared_folders import frozen

from raypeft.analysis.report import page as page_module
from raypeft.results.store import ResultStore
from raypeft.sharing.staged import Staged, Wanted, stage
from raypeft.trial.columns import tables

ROWS = {"trials": 2, "evals": 1, "example_scores": 20}


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The charts' library takes seconds to bundle."""
    monkeypatch.setattr(page_module, "charts_script", lambda: "")


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return frozen(tmp_path / "results")


def staged(store: ResultStore, tmp_path: Path, with_text: bool = False) -> Staged:
    return stage(store, tmp_path / "staging", Wanted(with_text))


def unpacked(page: Path) -> str:
    """A report with the data that it holds compressed."""
    text = page.read_text("utf-8")
    parts = re.findall(r"H4sI[A-Za-z0-9+/=]+", text)
    assert len(parts) >= 3
    return text + "".join(gzip.decompress(base64.b64decode(part)).decode("utf-8") for part in parts)


def test_each_table_is_one_file_with_its_descriptions(store: ResultStore, tmp_path: Path) -> None:
    made = staged(store, tmp_path)
    assert (dict(made.tables), made.left_out, made.model, made.adapters) == (ROWS, ("candidates",), None, [])
    for table, count in ROWS.items():
        found = pq.read_table(made.dataset / table / "all.parquet")
        assert found.num_rows == count and found.schema.field("id").metadata[b"description"]
    assert not (made.dataset / "candidates").exists()


def test_a_row_that_a_later_file_replaces_is_not_shared(store: ResultStore, tmp_path: Path) -> None:
    old = [row | {"status": "lost"} for row in store.read_rows()]
    store.write_rows("trials", "all", old)
    found = pq.read_table(staged(store, tmp_path).dataset / "trials/all.parquet")
    assert found.num_rows == ROWS["trials"] and "lost" not in found.column("status").to_pylist()


@pytest.mark.parametrize("with_text", [False, True])
def test_the_report_has_examples_only_where_text_is_shared(store: ResultStore, tmp_path: Path, with_text: bool) -> None:
    made = staged(store, tmp_path, with_text)
    instruction = store.read_rows("candidates")[0]["instruction"]
    assert len(instruction) > 8
    page = unpacked(made.dataset / "report.html")
    assert (instruction in page) == with_text and "zero_shot" in page
    assert (made.dataset / "candidates/all.parquet").exists() == with_text


def test_the_card_leads_datasets_to_each_table(store: ResultStore, tmp_path: Path) -> None:
    from datasets import load_dataset

    made = staged(store, tmp_path)
    card = (made.dataset / "README.md").read_text("utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert [each["config_name"] for each in header["configs"]] == ["trials", "example_scores", "evals"]
    for table, count in ROWS.items():
        loaded = load_dataset(str(made.dataset), table, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == count
    (default,) = (each["config_name"] for each in header["configs"] if each.get("default"))
    assert default == "trials"


def test_the_card_has_the_question_the_scores_and_how_to_read_them(store: ResultStore, tmp_path: Path) -> None:
    card = (staged(store, tmp_path).dataset / "README.md").read_text("utf-8")
    assert "Does a folder of this version open in the next?" in card and "| zero_shot" in card
    assert "raypeft pull hf://OWNER/NAME" in card and "are not part of it" in card


def test_a_damaged_file_is_left_out_and_named(store: ResultStore, tmp_path: Path) -> None:
    path = next((tmp_path / "results/trials").iterdir())
    path.write_bytes(b"PAR1")
    assert staged(store, tmp_path).tables["trials"] == 1
    assert "is damaged" in store.damaged[str(path)]


def test_results_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold rows of trials but holds none"):
        staged(ResultStore(str(tmp_path / "empty"), tables()), tmp_path)
