"""What a sweep shows while it runs: lines where there is no terminal, a live table on one."""

import time
from io import StringIO

import pytest
from rich.console import Console

from raypeft.analysis.report.terminal import headline
from raypeft.events import Evaluated, Finished, Stage, Started, Step
from raypeft.results.store import ResultStore
from raypeft.runner.observers.evaluations import EvaluationWriter
from raypeft.runner.observers.lines import LINE_INTERVAL, LineView, TrialLines
from raypeft.runner.observers.live import LiveView
from raypeft.runner.observers.view import RunningTrial, SweepView
from raypeft.trial.columns import tables

OK = {"status": "ok", "error": None, "em_at_1": 0.05, "em_at_10": 0.4, "codebleu": 0.25}


class Clock:
    """Time that passes only where a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def view_on(out: StringIO, total: int = 2, terminal: bool = False) -> SweepView:
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    return (LiveView if terminal else LineView)(total, console)


def start(view: SweepView, name: str, label: str) -> None:
    view.hear(name, Started(label, {}))


def progress(view: SweepView, name: str, stage: str, done: int, total: int, loss: float | None = None) -> None:
    view.hear(name, Stage(stage, done, total) if loss is None else Step(done, total, loss, 1e-3))


def finish(view: SweepView, name: str, row: dict) -> None:
    view.hear(name, Finished(row))


def shown(view: LiveView) -> str:
    """What the live table shows at this moment."""
    with view.console.capture() as capture:
        view.console.print(view.live.get_renderable())
    return capture.get()


def test_without_a_terminal_a_trial_is_two_lines(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy lora")
        for step in range(1000):
            progress(view, "a", "train", step, 1000, loss=0.5)
        clock.now += 12
        finish(view, "a", OK)
    assert out.getvalue().splitlines() == [
        "started  toy toy lora",
        "[1/2]  toy toy lora in 12 s: EM@1 5.0 %, EM@10 40.0 %, CodeBLEU 25.0 %",
    ]


def test_without_a_terminal_nothing_but_plain_lines_is_written(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy lora")
        clock.now += 31
        progress(view, "a", "train", 1, 2)
        finish(view, "a", OK)
    assert "\x1b" not in out.getvalue() and "\r" not in out.getvalue()


def test_without_a_terminal_a_long_trial_speaks_at_most_every_half_minute(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy lora")
        for second in range(100):
            clock.now += 1
            progress(view, "a", "train", second, 1000, loss=0.5)
    running = [line for line in out.getvalue().splitlines() if line.startswith("running")]
    assert LINE_INTERVAL == 30 and len(running) == 3


def test_a_line_says_at_once_that_a_stage_of_several_steps_has_begun(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy icl")
        clock.now += 40
        progress(view, "a", "retrieve", 0, 1)
        clock.now += 2
        for example in (0, 10):  # at 10 the stage is known, and the half minute is not over
            progress(view, "a", "generate", example, 200)
    assert [line.split(": ")[1].split(",")[0] for line in out.getvalue().splitlines()[1:]] == [
        "selecting shots",
        "generating example 0/200",
    ]


def test_each_trial_has_an_interval_of_its_own(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "first")
        clock.now += 20
        start(view, "b", "second")
        clock.now += 15
        for name in ("a", "b"):
            progress(view, name, "train", 1, 2)
    assert [line.split(":")[0] for line in out.getvalue().splitlines()] == [
        "started  first",
        "started  second",
        "running  first",
    ]


def test_a_line_tells_step_losses_and_the_time_left(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy lora")
        progress(view, "a", "train", 0, 400)
        clock.now += 60
        view.hear("a", Step(100, 400, 0.6, 1e-3))
        clock.now += 30
        view.hear("a", Evaluated(100, 1.0, 0.51239, 0.7, 1e-3, 60.0))
    line = out.getvalue().splitlines()[-1]
    assert line.startswith("running  toy toy lora: training step 100/400 loss 0.512 validation loss 0.700, ")


def test_the_time_left_is_that_of_the_present_stage(clock: Clock) -> None:
    out = StringIO()
    with view_on(out) as view:
        start(view, "a", "toy toy lora")
        clock.now += 3000
        progress(view, "a", "generate", 0, 200)
        clock.now += 40
        progress(view, "a", "generate", 100, 200)
    assert out.getvalue().splitlines()[-1].endswith("generating example 100/200, 40 s left")


def test_figures_of_one_stage_are_not_told_of_the_next(clock: Clock) -> None:
    view = view_on(StringIO(), terminal=True)
    start(view, "a", "toy toy lora")
    progress(view, "a", "train", 1, 2, loss=0.5)
    progress(view, "a", "generate", 1, 2)
    assert "loss" not in shown(view)


def test_a_failed_trial_tells_its_error_as_it_is(clock: Clock) -> None:
    out = StringIO()
    view = view_on(out)
    start(view, "a", "toy toy icl")
    finish(view, "a", {"status": "failed", "error": "ValueError: [bold]must[/bold] fit"})
    assert out.getvalue().splitlines()[-1] == "[1/2]  toy toy icl in 0 s: failed: ValueError: [bold]must[/bold] fit"


def test_a_long_line_is_not_folded(clock: Clock) -> None:
    out = StringIO()
    finish(view_on(out), "a", {"status": "failed", "error": "x" * 500})
    assert "x" * 500 in out.getvalue()


def test_a_trial_that_ends_before_it_was_seen_to_start_is_counted(clock: Clock) -> None:
    out = StringIO()
    view = view_on(out)
    progress(view, "a", "train", 1, 2)
    finish(view, "a", OK)
    assert out.getvalue().startswith("[1/2]  a: EM@1")


def test_the_live_table_shows_each_running_trial_with_step_loss_and_time_left(clock: Clock) -> None:
    view = view_on(StringIO(), terminal=True)
    start(view, "a", "toy toy lora")
    start(view, "b", "toy toy icl")
    for name, stage in (("a", "train"), ("b", "generate")):
        progress(view, name, stage, 0, 100)
    clock.now += 30
    progress(view, "a", "train", 25, 100, loss=1.23456)
    progress(view, "b", "generate", 50, 100)
    lora, icl, total = shown(view).splitlines()
    assert "toy toy lora" in lora and "training step 25/100 loss 1.235" in lora and "1 min 30 s left" in lora
    assert "toy toy icl" in icl and "generating example 50/100" in icl and "30 s left" in icl
    assert total.strip() == "0 of 2 trials done, 2 running, 30 s"


def test_the_live_table_tells_the_sweeps_time_left_from_the_trials_that_are_done(clock: Clock) -> None:
    view = view_on(StringIO(), total=4, terminal=True)
    for name in ("a", "b"):
        start(view, name, name)
        clock.now += 1800
        finish(view, name, OK)
    assert shown(view).strip() == "2 of 4 trials done, 0 running, 1 h 00 min, about 1 h 00 min left"


def test_a_terminal_shows_the_live_table_and_keeps_the_finished_lines() -> None:
    out = StringIO()
    with view_on(out, terminal=True) as view:
        start(view, "a", "toy toy lora")
        progress(view, "a", "train", 3, 7, loss=0.5)
        view.live.refresh()
        finish(view, "a", OK)
    assert "training step 3/7 loss 0.500" in out.getvalue()
    assert "[1/2]  toy toy lora in 0 s: EM@1 5.0 %" in out.getvalue()
    assert "started" not in out.getvalue()


def test_a_terminal_is_left_with_its_cursor_after_an_error() -> None:
    out = StringIO()
    with pytest.raises(KeyboardInterrupt), view_on(out, terminal=True):
        raise KeyboardInterrupt
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_scores_that_a_row_lacks_are_left_out() -> None:
    assert headline({"em_at_1": 0.0, "em_at_10": None}) == "EM@1 0.0 %"


def test_every_evaluation_is_in_the_store_as_soon_as_it_is_told(tmp_path) -> None:
    store = ResultStore(str(tmp_path), tables())
    writer = EvaluationWriter(store)
    for step in (5, 10):
        writer.hear("a", Evaluated(step, step / 10, 0.5, 0.4, 1e-3, 1.0))
        assert [row["step"] for row in store.read_rows("evals", "a")] == list(range(5, step + 1, 5))


def test_a_single_trial_speaks_at_every_tenth_of_a_stage_and_at_every_evaluation(capsys) -> None:
    lines = TrialLines()
    for step in range(1, 101):
        lines.hear("a", Step(step, 100, 0.5, 1e-3))
    lines.hear("a", Evaluated(100, 1.0, 0.5, 0.4, 1e-3, 1.0))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 11
    assert told[0] == "  train 10/100  loss 0.5"
    assert told[-1] == "  evaluated at step 100  loss 0.5  validation loss 0.4"


def test_a_stage_of_sixteen_programs_is_told_ten_times(capsys) -> None:
    lines = TrialLines()
    for done in range(1, 17):
        lines.hear("a", Stage("test", done, 16))
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 10 and told[-1] == "  test 16/16"


def test_an_end_is_estimated_only_when_the_warming_up_is_over() -> None:
    trial = RunningTrial("a", 0.0)
    trial.update(Stage("train", 0, 100))
    trial.update(Step(5, 100, 0.5, 1e-3))
    assert trial.seconds_left is None
    trial.update(Step(6, 100, 0.5, 1e-3))
    assert trial.seconds_left is not None


def test_what_was_done_before_an_interruption_does_not_count_as_speed() -> None:
    trial = RunningTrial("a", 0.0)
    trial.update(Stage("train"))
    trial.update(Stage("train", 80, 100))
    trial.stage_started -= 10.0  # ten seconds for the ten steps that follow
    trial.update(Step(90, 100, 0.5, 1e-3))
    assert trial.seconds_left == pytest.approx(10.0, abs=0.5)


def test_every_stage_says_what_it_counts() -> None:
    told = []
    for name in ("train", "generate", "test"):
        trial = RunningTrial("a", 0.0)
        trial.update(Stage(name, 3, 10))
        told.append(trial.describe())
    assert told == ["training step 3/10", "generating example 3/10", "waiting for tests program 3/10"]
