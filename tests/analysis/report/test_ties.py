"""Which conditions are tied with the best."""

from pathlib import Path

from report_folders import EXAMPLES, add_answers, add_row, made_row, store_at

from raypeft.analysis.report.panels import panels
from raypeft.analysis.report.study import open_study
from raypeft.analysis.report.ties import FEW_SEEDS, PAIRED, SOME_FEW, UNPAIRED
from raypeft.results.store import TOGETHER


def tied(folder: Path) -> tuple[list[bool], str]:
    (panel,) = panels(open_study([str(folder)]))
    return [each.is_tied for each in panel.ranked], panel.tie_rule


def write(folder: Path, every: list[list[bool]], answers: bool, seeds: int = 1) -> None:
    for place, hits in enumerate(every):
        for seed in range(seeds):
            add(folder, hits, answers, lora_r=2 ** (place + 1), seed=seed)


def add(folder: Path, hits: list[bool], answers: bool, weights: str | None = None, **fields: int) -> None:
    store, width, share = store_at(folder), 0.1, sum(hits) / len(hits)
    bounds = {"em_at_10_low": share - width, "em_at_10_high": share + width}
    trial = add_row(store, made_row(hits, more={**bounds, "model_resolved_revision": weights}, **fields))
    if answers:
        store.write_rows("example_scores", trial, [
            {"id": trial, "example_id": f"e{each}", "score": "em_at_10", "value": float(hit)}
            for each, hit in enumerate(hits)])  # fmt: skip
        add_answers(store, trial, hits)


def first(count: int) -> list[bool]:
    return [place < count for place in range(EXAMPLES)]


def test_with_answers_to_the_same_examples_the_test_is_paired(tmp_path: Path) -> None:
    write(tmp_path, [first(20), first(19), first(5)], answers=True, seeds=3)
    assert tied(tmp_path) == ([True, True, False], PAIRED)


def test_candidates_in_one_file_without_references_are_compared_by_their_matches(tmp_path: Path) -> None:
    every = [first(20), first(16), first(5)]
    write(tmp_path, every, answers=False)
    store = store_at(tmp_path)
    ids = [row["id"] for row in sorted(store.read_rows(), key=lambda row: row["lora_r"])]
    store.write_rows("candidates", TOGETHER, [
        {"id": trial, "example_id": f"e{place}", "rank": rank, "text": "x", "matches": hit and rank == 9}
        for trial, hits in zip(ids, every, strict=True) for place, hit in enumerate(hits) for rank in range(10)
    ])  # fmt: skip
    assert tied(tmp_path) == ([True, True, False], FEW_SEEDS)


def test_with_too_few_seeds_the_rule_says_that_other_seeds_are_no_chance(tmp_path: Path) -> None:
    write(tmp_path, [first(20), first(19), first(5)], answers=True)
    assert tied(tmp_path) == ([True, True, False], FEW_SEEDS)


def test_conditions_with_many_and_with_few_seeds_have_one_rule(tmp_path: Path) -> None:
    write(tmp_path, [first(20), first(19)], answers=True, seeds=3)
    add(tmp_path, first(18), answers=True, lora_r=64)
    assert tied(tmp_path) == ([True, True, True], SOME_FEW)


def test_trials_of_other_weights_are_not_paired(tmp_path: Path) -> None:
    for place, weights in enumerate(("a", "b")):
        add(tmp_path, first(20 - place), True, weights, lora_r=2 ** (place + 1))
    assert tied(tmp_path) == ([True, True], UNPAIRED)


def test_without_them_intervals_decide(tmp_path: Path) -> None:
    write(tmp_path, [first(20), first(16), first(5)], answers=False)
    assert tied(tmp_path) == ([True, True, False], UNPAIRED)


def test_without_intervals_nothing_is_called_tied(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    for rank, loss in ((2, 0.5), (4, 0.6)):
        add_row(store, made_row(more={"test_loss": loss}, lora_r=rank))
    assert tied(tmp_path) == ([False, False], "")


def test_one_condition_is_tied_with_nothing(tmp_path: Path) -> None:
    write(tmp_path, [first(20)], answers=True)
    assert tied(tmp_path) == ([False], "")
