"""Results folders for tests of the report: made rows of a small grid, with curves, answers and failures."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from raypeft.records import Column
from raypeft.results.manifest import Manifest
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations

START = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES = 40


def store_at(folder: Path) -> ResultStore:
    return ResultStore(str(folder), tables())


def made_row(
    hits: list[bool] | None = None, status: str = "ok", more: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A trial's row; its scores are those of its hits."""
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields})
    scores: dict[str, Any] = {}
    if status == "ok" and hits is not None:
        share = sum(hits) / len(hits)
        scores = {f"em_at_{k}": share for k in (1, 10)} | {
            "em_at_10_low": max(0.0, share - 0.1), "em_at_10_high": min(1.0, share + 0.1), "codebleu": share / 2,
            "test_examples": len(hits), "total_seconds": 60.0, "device": "cpu", "torch_version": "2.11.0",
        }  # fmt: skip
    return {
        "id": trial.id,
        "sweep": "made",
        **trial.fields,
        "status": status,
        "started_at": START,
        **scores,
        **(more or {}),
    }


def add_row(store: ResultStore, row: dict[str, Any]) -> str:
    """Store a trial's row; trials start one second after another."""
    count = len(store.infos("trials"))  # reading the rows would take most of a test's time
    store.write_rows("trials", row["id"], [{**row, "started_at": START + timedelta(seconds=count)}])
    return row["id"]


def add_tests(store: ResultStore, trial: str, example: str, *outcomes: str) -> None:
    """Tests of the first candidate for an example; one that is not passed has an error."""
    store.write_rows("tests", trial, [
        {"id": trial, "example_id": example, "rank": 0, "test": place, "passed": outcome == "passed",
         "outcome": outcome, "error": None if outcome == "passed" else f"{place} is\nnot right"}
        for place, outcome in enumerate(outcomes)
    ])  # fmt: skip


def add_answers(
    store: ResultStore, trial: str, hits: list[bool], wrong: str = "y = 2", shots: tuple[str, ...] = ()
) -> None:
    """Two candidates an example; the second one is right where the trial hits."""
    store.write_rows("candidates", trial, [
        {"id": trial, "example_id": f"e{place}", "rank": rank, "text": text, "instruction": f"instruction {place}",
         "reference": "x = 1", "matches": text == "x = 1", "log_probability": -1.5, "stop_reason": "eos",
         "shots": list(shots)}
        for place, hit in enumerate(hits) for rank, text in enumerate((wrong, "x = 1" if hit else "z"))
    ])  # fmt: skip


def add_curve(store: ResultStore, trial: str, losses: list[float]) -> None:
    store.write_rows("evals", trial, [
        {"id": trial, "step": 10 * (place + 1), "epoch": 0.5 * (place + 1), "train_loss": loss + 0.1, "eval_loss": loss}
        for place, loss in enumerate(losses)
    ])  # fmt: skip


def hits_of_share(share: float) -> list[bool]:
    return [place < share * EXAMPLES for place in range(EXAMPLES)]


def made_study(folder: Path, seeds: int = 1) -> ResultStore:
    """LoRA over two ranks, two alphas and two rates, full fine-tuning, ICL; one trial failed and one ran out of memory.

    Answers are stored for all that have scores.
    """
    store = store_at(folder)
    for seed in range(1, seeds + 1):
        for rank in (4, 8):
            for alpha in (8, 16):
                for rate in (1e-4, 1e-3):
                    share = 0.3 + 0.2 * (rate > 5e-4) + 0.05 * (alpha == 16) + 0.01 * seed
                    _add(store, share, 1.2 - share, lora_r=rank, lora_alpha=alpha, learning_rate=rate, seed=seed)
        _add(store, 0.35, 0.9, tuning_method="full", learning_rate=1e-5, seed=seed)
    _add(store, 0.2, None, tuning_method="icl", num_shots=4)
    add_row(store, made_row(status="failed", more={"error": "ValueError: <b>no</b>"}, tuning_method="ia3"))
    add_row(store, made_row(status="oom", more={"error": "out of memory"}, tuning_method="full", learning_rate=1e-3))
    return store


def _add(store: ResultStore, share: float, loss: float | None, **fields: Any) -> None:
    hits = hits_of_share(share)
    cost = {
        "trainable_params": 1000 * fields.get("lora_r", 50),
        "peak_memory_allocated_gb": 1.0 + fields.get("lora_r", 9) / 10,
    }
    trained = {} if loss is None else {"best_eval_loss": loss, "best_step": 20, "steps": 20, **cost}
    trial = add_row(store, made_row(hits, more=trained, **fields))
    add_answers(store, trial, hits)
    if loss is not None:
        add_curve(store, trial, [loss + 0.3, loss])


def write_plan(store: ResultStore, ids: list[str], name: str = "made", text: str = "") -> None:
    """A manifest whose plan has these trials."""
    columns: dict[str, tuple[Column, ...]] = {table: tuple(found) for table, found in tables().items()}
    sweep = {"name": name, "file": f"{name}.yaml", "text": text}
    store.write_manifest(Manifest(own_declarations(), columns, {}, sweep, {each: {} for each in ids}))
