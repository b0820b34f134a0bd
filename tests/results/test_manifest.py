"""What a folder says of itself: read back as it was written, by this version and by others."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from raypeft.metrics.metric import Score
from raypeft.records import Column, Status
from raypeft.results.declarations import Declarations, DeclaredDataset, DeclaredMethod
from raypeft.results.manifest import FORMAT, Manifest
from raypeft.results.store import ResultStore

MANIFEST = Manifest(
    Declarations(
        scores=(Score("em", "EM", "exact match", readings=("low", "high"), hits="em"),),
        statuses={"ok": Status("ok", is_finished=True, is_fault=False, is_scored=True)},
        datasets={"d": DeclaredDataset(("tests",), ("easy",), {"top_p": 0.95})},
        methods={"m": DeclaredMethod(("rank", "wide"), {"rank": 8, "wide": None}, trains=False)},
    ),
    tables={
        "trials": (
            Column("id", str, "the id"), Column("em", float, "exact match", "fraction"), Column("n", int, "number"),
            Column("at", datetime, "time"), Column("good", bool, "whether"), Column("parts", list[str], "parts"),
        )
    },
    made_by={"raypeft_version": "9.9"},
    sweep={"name": "s", "file": "s.yaml", "text": "name: s\n"},
    plan={"a1": {"rank": 8}},
)  # fmt: skip


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path), {})
    assert store.read_manifest() is None
    store.write_manifest(MANIFEST)
    assert store.read_manifest() == MANIFEST
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["manifest.json"]
    assert not list((tmp_path / ".tmp").iterdir()), "it is moved there whole"


def test_what_another_version_adds_is_passed_over_and_what_it_lacks_is_the_default() -> None:
    plain = json.loads(json.dumps(MANIFEST.plain()))
    plain |= {"colour": "red"}
    plain["scores"] = [{"name": "bleu", "title": "BLEU", "description": "n-grams", "smoothing": 3}]
    plain["datasets"]["d"] = {"judged_by": ["people"]}
    plain["tables"]["trials"].append({"name": "much", "kind": "decimal", "description": "a kind that is not known"})
    found = Manifest.from_plain(plain)
    assert found.declarations.scores == (Score("bleu", "BLEU", "n-grams"),)
    assert found.declarations.dataset("d") == DeclaredDataset(("people",))
    assert found.tables == MANIFEST.tables


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Expecting property name"),
        ("[]", "must be a mapping but is a list"),
        (json.dumps({"format": FORMAT + 1}), "format must be 1 at most but is 2"),
        (json.dumps({"format": FORMAT, "scores": [{"title": "no name"}]}), "declarations must be as raypeft writes"),
        (json.dumps({"format": FORMAT, "tables": {"trials": [{}]}}), "declarations must be as raypeft writes"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=rf"manifest\.json: .*{told}"):
        ResultStore(str(tmp_path), {}).read_manifest()


def test_what_only_the_older_manifest_declares_is_kept_and_all_else_is_new() -> None:
    new = Manifest(
        Declarations(
            scores=(Score("new", "new", "new"), Score("em", "exact", "anew")),
            datasets={"e": DeclaredDataset()},
            methods={"m": DeclaredMethod(("rank", "depth"), {"rank": 16, "depth": 1})},
        ),
        tables={"trials": (Column("id", str, "anew"),), "tests": ()},
        made_by={"raypeft_version": "10"},
    )
    both = new.over(MANIFEST)
    assert [(each.name, each.title) for each in both.declarations.scores] == [("new", "new"), ("em", "exact")]
    assert both.declarations.datasets.keys() == {"d", "e"}
    assert both.declarations.statuses == MANIFEST.declarations.statuses
    assert both.declarations.method("m").fields == ("rank", "depth", "wide")
    assert both.declarations.method("m").defaults == {"rank": 16, "depth": 1, "wide": None}
    told = [(each.name, each.description) for each in both.tables["trials"]]
    assert told[:2] == [("id", "anew"), ("em", "exact match")]
    assert both.tables.keys() == {"trials", "tests"}
    assert (both.made_by, both.sweep, both.plan) == (new.made_by, MANIFEST.sweep, MANIFEST.plan)
    assert new.over(None) is new
