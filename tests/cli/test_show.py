"""`raypeft show`: what it tells of a trial, which examples it picks, and what must not reach a terminal."""

import subprocess
import sys
from pathlib import Path

import pytest
from report_folders import add_answers, add_curve, add_row, hits_of_share, made_row, made_study, store_at

from raypeft.cli.show import main


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


@pytest.fixture
def trial(tmp_path: Path) -> str:
    """A LoRA trial with 3 examples, of which the second one has a right candidate."""
    store = store_at(tmp_path)
    more = {"best_step": 20, "trainable_params": 4096, "em_at_10_validation": 0.25}
    trial = add_row(store, made_row(hits_of_share(0.5), more=more, lora_r=4))
    add_answers(store, trial, [False, True, False])
    add_curve(store, trial, [0.9, 0.7, 0.8])
    return trial


def test_fields_scores_cost_and_curve_are_told(tmp_path: Path, trial: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(tmp_path), "--trial", trial[:5], "--examples", "0")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{trial} toy toy lora" and "lora_r 4" in lines and "lora_alpha" not in out
    assert "EM@10 % 50.0 40.0 60.0 25.0" in lines
    assert "trainable_params 4,096 parameters" in lines and "total_seconds 60 seconds" in lines
    assert [line for line in lines if "best" in line] == ["20 1 best 0.8 0.7"]


def test_examples_have_their_candidates_in_the_order_of_ranks(
    tmp_path: Path, trial: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shown(capsys, str(tmp_path), "--trial", trial, "--example", "e1")
    assert out[out.index("1 of 3 test examples") :].splitlines() == [
        "1 of 3 test examples; 1 have a right candidate", "", "example e1: right", "instruction", "    instruction 1",
        "reference", "    x = 1", "rank 0, wrong, log-probability -1.500", "    y = 2",
        "rank 1, right, log-probability -1.500", "    x = 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["e0", "e1", "e2"]), (["--wrong"], ["e0", "e2"]), (["--right"], ["e1"]),
        (["--examples", "2"], ["e0", "e1"]),
        (["--wrong", "--examples", "1"], ["e0"]), (["--example", "e2", "--example", "e0"], ["e2", "e0"]),
    ],
)  # fmt: skip
def test_options_choose_the_examples(
    tmp_path: Path, trial: str, capsys: pytest.CaptureFixture[str], options: list[str], found: list[str]
) -> None:
    out = shown(capsys, str(tmp_path), "--trial", trial, *options)
    assert [line.split()[1].rstrip(":") for line in out.splitlines() if line.startswith("example ")] == found


def test_each_test_of_a_candidate_has_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(more={"pass_at_1": 0.0}, dataset="toy_apps"))
    add_answers(store, trial, [True])
    store.write_rows("tests", trial, [
        {"id": trial, "example_id": "e0", "rank": 0, "test": test, "passed": not error, "error": error,
         "outcome": "wrong_answer" if error else "passed"} for test, error in enumerate([None, "3 is not 4"])
    ])  # fmt: skip
    out = shown(capsys, str(tmp_path), "--trial", trial)
    assert "  test 0: passed\n  test 1: wrong_answer: 3 is not 4\n" in out


def test_what_a_model_wrote_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_at(tmp_path)
    hostile = "\x1b]0;title\x07\x1b[2J\rx\u202e\x9b31m[bold]"
    trial = add_row(store, made_row(status="failed", more={"error": f"ValueError: {hostile}"}))
    add_answers(store, trial, [False], wrong=hostile + "\ny")
    out = shown(capsys, str(tmp_path), "--trial", trial)
    escaped = r"\x1b]0;title\x07\x1b[2J\rx\u202e\x9b31m[bold]"
    assert out.count(escaped) == 2 and f"    {escaped}\n" in out
    assert not set("\x1b\x07\r\u202e\x9b") & set(out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trial", "none"], "--trial must be the id of one trial of"),
        (["--trial", "", "--example", "e9"], "--example must be the id of a test example of the trial but got e9"),
    ],
)
def test_an_id_that_is_not_there_is_told(
    tmp_path: Path, trial: str, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main([str(tmp_path), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_trial_without_answers_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = made_study(tmp_path)
    failed = next(row["id"] for row in store.read_rows() if row["status"] == "failed")
    out = shown(capsys, str(tmp_path), "--trial", failed)
    assert "status: failed: ValueError: <b>no</b>" in out and "The folder holds no answers of this trial." in out


def test_neither_torch_nor_ray_is_imported(tmp_path: Path, trial: str) -> None:
    program = (
        "import sys; from raypeft.cli.show import main; main(sys.argv[1:]); "
        "print(*sorted({'torch', 'transformers', 'ray', 'peft', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "--trial", trial], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, ""), done.stderr
