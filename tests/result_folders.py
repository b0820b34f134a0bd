"""Results folders made for tests: finished trials with given hits on their test examples."""

from datetime import UTC, datetime
from typing import Any

from raypeft.data.declared.declaration import DeclaredData
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial


def add(store: ResultStore, name: str, hits: list[int], row: dict[str, Any] | None = None, **fields: Any) -> str:
    """A finished trial whose first candidates hit as given; its ten others never do. `row` are further columns."""
    trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": name, **fields})
    score = sum(hits) / len(hits)
    started = datetime(2026, 1, 1, 0, len(store.infos("trials")), tzinfo=UTC)
    scores = {"em_at_1": score, "em_at_10": score, "codebleu": score}
    whole = {"id": trial.id, **trial.fields, "status": "ok", "started_at": started, **scores, **(row or {})}
    store.write_rows("trials", trial.id, [whole])
    candidates = [
        {
            "id": trial.id,
            "example_id": str(example),
            "rank": rank,
            "text": "x" if hit and rank == 0 else "y",
            "reference": "x",
        }
        for example, hit in enumerate(hits)
        for rank in range(10)
    ]
    store.write_rows("candidates", trial.id, candidates)
    return trial.id


def rows_of(store: ResultStore) -> list[dict[str, Any]]:
    """The rows of the trials, in the order in which they were added."""
    return sorted(store.read_rows(), key=lambda row: str(row["started_at"]))


def with_stop(store, method, *stops, seeds=(42,)):
    """Trials on data whose declaration was edited and run again into the same folder."""
    for stop in stops:
        data = DeclaredData(path="/data/own.jsonl", prompt="task", answer="code", stop=(stop,), content="abc")
        for seed in seeds:
            add(store, method, [1, 0], dataset="own", declared=data, seed=seed)
