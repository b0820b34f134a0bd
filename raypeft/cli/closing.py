"""What `raypeft sweep` prints at its end: the table, the best of each search, what failed, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from raypeft.analysis.folder import say_damaged
from raypeft.analysis.report.terminal import print_summary
from raypeft.cli.report import report_lines
from raypeft.mistakes import number_of
from raypeft.results.statuses import is_fault, is_settled
from raypeft.results.store import ResultStore
from raypeft.runner.observers.view import say
from raypeft.stopping import Stopped
from raypeft.study.config import Trial

Row = Mapping[str, Any]


def say_end(
    store: ResultStore,
    trials: Sequence[Trial],
    unsuggested: int,
    console: Console,
    stopped: Stopped | None,
    search_lines: Callable[[Sequence[Row]], Iterable[str]],
) -> int:
    """Print the table of the trials and what to do next; returns the exit code.

    `unsuggested` trials are still to come from the search.
    """
    total = len(trials) + unsuggested
    planned = {trial.id: index for index, trial in enumerate(trials)}
    rows = sorted((row for row in store.read_rows() if row["id"] in planned), key=lambda row: planned[row["id"]])
    manifest = store.read_manifest()
    print_summary(rows, declared=manifest.declarations if manifest else None)
    say_damaged(store)
    for line in search_lines(rows):
        say(console, line)
    if stopped:
        why = "the time budget is used up" if stopped.is_time_over else "interrupted"
        say(console, f"{why}: {len(rows)} of {total} trials are done; the same command runs the others")
    if stopped and not stopped.is_time_over:
        return stopped.exit_code
    if rows:
        for line in report_lines(store.url):
            say(console, line)
    if failed := sum(is_fault(row["status"]) and is_settled(row["status"]) for row in rows):
        say(console, f"{number_of(failed, 'trial')} failed, and will not run again without --retry all "
                      f"(with --only ID for single ones)")  # fmt: skip
    say_next_steps(console, store.url, rows)
    are_done = len(rows) == total or stopped
    return 0 if are_done and not any(is_fault(row["status"]) for row in rows) else 1


def kept_lines(rows: Sequence[Row], keep: str) -> Iterable[str]:
    """Whether weights that somebody may look for were not kept, though adapters are."""
    tuned = [row for row in rows if row["tuning_method"] == "full" and row["status"] == "ok" and not row.get("kept")]
    if tuned and keep == "adapter":
        trials = number_of(len(tuned), "trial")
        yield f"full fine-tuning: the weights of {trials} were not kept; keep: model in the sweep file keeps them"


def say_next_steps(console: Console, results: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the commands that are useful next."""
    if not rows:
        return
    say(
        console,
        f"""
next steps:
  python -m raypeft findings {results}     significance of the differences between trials
  python -m raypeft report {results} --markdown     the tables of the report in Markdown
  python -m raypeft try {results} --trial ID "PROMPT"     ask the model of a trial
  python -m raypeft export {results} --trial ID --to FOLDER     its adapter or weights, for use without raypeft
  pandas.read_parquet("{results}/trials")     all rows: fields, scores, times, memory and versions""",
    )
