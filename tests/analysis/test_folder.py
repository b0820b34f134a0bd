"""Results that another version made: read by what the folder says, with nothing of it known here."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raypeft.cli.findings import main as findings
from raypeft.cli.report import main as report

MANIFEST = {
    "format": 1,
    "made_by": {"raypeft_version": "7.0"},
    "scores": [
        {"name": "elegance", "title": "elegance", "description": "share of elegant answers", "with_interval": True,
         "readings": ["low", "high"], "hits": "elegance", "in_headline": True},
        {"name": "moves", "title": "moves", "description": "moves of an answer", "unit": "plies",
         "higher_is_better": False, "over_seeds": False},
    ],
    "statuses": {
        "won": {"name": "won", "is_finished": True, "is_fault": False, "is_scored": True},
        "resigned": {"name": "resigned", "description": "no way to win"},
    },
    "datasets": {"chess": {"judged_by": ["engine"], "decoding": {"depth": 3}}},
    "methods": {
        "prefix_lm": {"fields": ["seed", "depth", "blend"], "defaults": {"seed": 0, "depth": 1, "blend": 0.5}},
        "search": {"fields": ["seed", "depth", "nodes"], "defaults": {"seed": 0, "depth": 1}},
    },
    "tables": {
        "trials": [
            {"name": "id", "kind": "str", "description": "the id"},
            {"name": "elegance", "kind": "float", "description": "share of elegant answers", "unit": "fraction"},
            {"name": "board", "kind": "tensor", "description": "a kind that is not known here"},
        ]
    },
}  # fmt: skip
TRIALS: list[dict[str, Any]] = [
    {"id": "a1", "tuning_method": "prefix_lm", "blend": 0.25, "nodes": None, "seed": 0, "status": "won",
     "elegance": 0.25, "elegance_low": 0.1, "elegance_high": 0.5, "moves": 41.5},
    {"id": "b2", "tuning_method": "search", "blend": None, "nodes": 9, "seed": 0, "status": "won",
     "elegance": 0.75, "elegance_low": 0.5, "elegance_high": 0.9, "moves": 33.0},
    {"id": "c3", "tuning_method": "search", "blend": None, "nodes": 9, "seed": 1, "status": "won",
     "elegance": 0.5, "elegance_low": 0.3, "elegance_high": 0.7, "moves": 35.0},
    {"id": "d4", "tuning_method": "search", "blend": None, "nodes": 10, "seed": 0, "status": "resigned",
     "elegance": None, "elegance_low": None, "elegance_high": None, "moves": None, "error": "stalemate"},
]  # fmt: skip
ELEGANT = {"a1": [0, 0, 1, 0], "b2": [1, 1, 1, 0], "c3": [1, 0, 1, 0]}


def write(folder: Path, table: str, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / table / f"{name}.parquet")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with a dataset, methods, statuses and scores that this version has not."""
    folder = tmp_path / "foreign"
    for number, row in enumerate(TRIALS):
        own = {"model": "rook", "dataset": "chess", "depth": 3, "started_at": datetime(2030, 1, 1 + number, tzinfo=UTC)}
        write(folder, "trials", row["id"], [own | row])
        values = [
            {"id": row["id"], "example_id": str(example), "score": "elegance", "value": float(value)}
            for example, value in enumerate(ELEGANT.get(row["id"], []))
        ]
        write(folder, "example_scores", row["id"], values)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_the_table_of_another_versions_results_is_printed_by_its_own_declarations(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(foreign)
    assert report([str(foreign), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "**Results on chess.** Model rook, dataset chess. Scores in percent. Lower is better for moves."
    )
    assert lines[2:6] == [
        "| method | settings | elegance [95 %] | moves | seeds | trial |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| search‡ | nodes 9 | 62.5 [40.0, 80.0] | 34.000 | 2 | b2 +1 |",
        "| prefix_lm† | blend 0.25 | 25.0 [10.0, 50.0] | 41.500 | 1 | a1 |",
    ]
    assert lines[-1] == "| resigned | rook | chess | search | nodes 10 | stalemate | d4 |"
    assert report([str(foreign), "--no-html"]) == 0
    assert "resigned: d4 rook chess search: stalemate" in capsys.readouterr().out
    assert content(foreign) == before, "reading writes nothing, not even a folder"


def test_another_versions_trials_are_compared_by_their_stored_values(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(foreign)
    assert findings([str(foreign), "--markdown"]) == 0
    said = capsys.readouterr().out
    assert " +1 | 2 | 62.5 ± 17.7 |" in said
    assert " +1 | prefix_lm (a1) | elegance | 2 : 1, too few | +37.5 [-12.2, +87.2] |" in said
    assert content(foreign) == before


def test_without_a_manifest_results_are_read_by_this_versions_declarations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path(__file__).parents[2] / "results" / "conala_shots"
    before = content(folder)
    assert report([str(folder), "--markdown"]) == 0
    assert "| icl‡ | shots 8 | 8.0 [4.1, 15.0] | 4.0 [1.6, 9.8] |" in capsys.readouterr().out
    assert findings([str(folder)]) == 0
    assert content(folder) == before


def test_a_manifest_that_cannot_be_read_ends_both_commands_with_2(
    foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (foreign / "manifest.json").write_text("{}")
    for command in (report, findings):
        assert command([str(foreign)]) == 2
        assert "manifest.json: format must be" in capsys.readouterr().err


PROGRAM = """
import sys
from raypeft.cli import findings, report

for folder in sys.argv[1:]:
    assert report.main([folder, "--no-html"]) == findings.main([folder]) == 0
print(*sorted({"torch", "transformers", "ray", "peft", "datasets"} & set(sys.modules)), "loaded")
"""


def test_analysis_needs_neither_torch_nor_ray(foreign: Path) -> None:
    committed = Path(__file__).parents[2] / "results" / "conala_shots"
    command = [sys.executable, "-c", PROGRAM, str(foreign), str(committed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "loaded"


def test_another_versions_results_make_a_page(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypeft.analysis.report.page.charts_script", lambda: "")
    before = content(foreign)
    assert report([str(foreign), "--html", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "elegance" in text and "stalemate" in text and content(foreign) == before
