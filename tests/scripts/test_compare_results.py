"""Two folders of results compared: equal to the last digit, but for what may differ by nature."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.compare_results import main

TRIAL = {
    "id": "a1",
    "learning_rate": 3e-4,
    "target_modules": ["q_proj"],
    "em_at_1": 0.1 + 0.2,
    "best_eval_loss": float("nan"),
    "train_seconds": 9.5,
    "host": "here",
    "sandbox_isolation": json.dumps([{"tier": "A", "uid": 61234}]),
}
CANDIDATES = [
    {"id": "a1", "example_id": f"e{example}", "rank": rank, "text": f"print({rank})"}
    for example in range(2)
    for rank in range(2)
]


def write(folder: Path, table: str, rows: list[dict[str, Any]], trial: str = "a1") -> None:
    (folder / table).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / table / f"{trial}.parquet")


def results(folder: Path, **changes: Any) -> Path:
    """A made-up sweep of one trial; `changes` are made to its row."""
    write(folder / "sweep", "trials", [TRIAL | changes])
    write(folder / "sweep", "candidates", CANDIDATES)
    return folder


def compared(tmp_path: Path, *options: str) -> int:
    return main([str(tmp_path / "a"), str(tmp_path / "b"), *options])


def test_equal_folders_are_equal_and_say_how_much_was_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "a")
    results(tmp_path / "b")
    assert compared(tmp_path) == 0
    # Six of the trial's eight columns are compared, and four of each of the four candidates.
    assert capsys.readouterr().out.endswith("1 trials and 22 values compared\nequal\n")


def test_a_last_digit_is_a_difference_that_a_tolerance_forgives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "a")
    results(tmp_path / "b", em_at_1=0.3)
    assert compared(tmp_path) == 1
    assert "sweep trials a1 em_at_1: 0.30000000000000004 | 0.3\n" in capsys.readouterr().out
    assert compared(tmp_path, "--tolerance", "1e-12") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": None},
        {"target_modules": ["q_proj", "v_proj"]},
        {"best_eval_loss": 0.0},
        {"sandbox_isolation": json.dumps([{"tier": "B", "uid": 61234}])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_fields_losses_and_lists_are_compared(change: dict[str, Any], tmp_path: Path) -> None:
    results(tmp_path / "a")
    results(tmp_path / "b", **change)
    assert compared(tmp_path) == 1


def test_times_hosts_and_the_sandbox_s_user_may_differ(tmp_path: Path) -> None:
    results(tmp_path / "a")
    facts = json.dumps([{"tier": "A", "uid": 60001}])
    results(tmp_path / "b", train_seconds=1.0, host="there", sandbox_isolation=facts)
    assert compared(tmp_path) == 0


def test_rows_are_matched_by_name_whatever_their_order(tmp_path: Path) -> None:
    results(tmp_path / "a")
    write(results(tmp_path / "b") / "sweep", "candidates", CANDIDATES[::-1])
    assert compared(tmp_path) == 0


def test_a_changed_text_is_shown_from_where_it_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, end in (("a", "1"), ("b", "2")):
        write(results(tmp_path / side) / "sweep", "candidates", [CANDIDATES[0] | {"text": "x" * 500 + end}])
    assert compared(tmp_path) == 1
    assert f"candidates a1 e0 0 text: ...{'x' * 20}1' | ...{'x' * 20}2'\n" in capsys.readouterr().out


def test_a_missing_candidate_and_a_missing_trial_are_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(results(tmp_path / "a") / "sweep", "trials", [TRIAL | {"id": "a2"}], trial="a2")
    write(results(tmp_path / "b") / "sweep", "candidates", CANDIDATES[:-1])
    assert compared(tmp_path) == 1
    out = capsys.readouterr().out
    assert "sweep trials a2: only in A\n" in out and "sweep candidates a1 e1 1: only in A\n" in out


def test_two_rows_of_one_name_are_not_one(tmp_path: Path) -> None:
    results(tmp_path / "a")
    write(results(tmp_path / "b") / "sweep", "candidates", [*CANDIDATES, CANDIDATES[0]])
    assert compared(tmp_path) == 1


def test_columns_and_tables_of_one_side_are_named_and_forgiven_unless_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "a")
    write(results(tmp_path / "b", parses=1.0) / "sweep", "example_scores", [{"id": "a1", "value": 1.0}])
    assert compared(tmp_path) == 0
    out = capsys.readouterr().out
    assert "columns only in B: parses" in out and "the table example_scores is only in B" in out
    assert compared(tmp_path, "--strict") == 1


def test_a_table_that_this_script_does_not_know_is_compared_where_both_have_it(tmp_path: Path) -> None:
    rows = [{"id": "a1", "example_id": "e0", "score": name, "value": 0.5} for name in ("em", "codebleu")]
    write(results(tmp_path / "a") / "sweep", "example_scores", rows)
    write(results(tmp_path / "b") / "sweep", "example_scores", rows[::-1])
    assert compared(tmp_path) == 0
    write(tmp_path / "b" / "sweep", "example_scores", [rows[0], rows[1] | {"value": 0.4}])
    assert compared(tmp_path) == 1


def test_sweeps_are_matched_by_path_and_one_sweep_can_be_given_itself(tmp_path: Path) -> None:
    results(tmp_path / "a")
    results(tmp_path / "b")
    assert main([str(tmp_path / "a" / "sweep"), str(tmp_path / "b" / "sweep")]) == 0
    results(tmp_path / "b" / "further")
    assert compared(tmp_path) == 1


def test_what_cannot_be_compared_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(tmp_path / "a")
    assert compared(tmp_path) == 2
    assert f"{tmp_path / 'b'} must be a folder" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    assert compared(tmp_path) == 2
    assert "has no trials/ at any depth" in capsys.readouterr().err
    damaged = results(tmp_path / "b") / "sweep" / "trials" / "a1.parquet"
    damaged.write_bytes(b"PAR1")
    assert compared(tmp_path) == 2
    assert f"{damaged} must be a Parquet file but is damaged" in capsys.readouterr().err


def test_two_empty_sweeps_are_not_called_equal(tmp_path: Path) -> None:
    for side in "ab":
        (tmp_path / side / "sweep" / "trials").mkdir(parents=True)
    assert compared(tmp_path) == 2
