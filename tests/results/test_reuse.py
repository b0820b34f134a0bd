"""Finished trials of another sweep are copied with all their rows."""

import pytest
from result_folders import add, rows_of

from raypeft.results.reuse import take_over
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


@pytest.fixture
def stores(tmp_path):
    return [ResultStore(str(tmp_path / name), tables()) for name in ("rq2", "rq3")]


def test_a_finished_trial_comes_with_its_rows_and_names_the_sweep_that_ran_it(stores):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0], row={"sweep": "rq2"})
    add(rq2, "full", [1, 0])
    assert take_over(rq3, {"rq2": rq2.url}, [id, "another"], 24) == {id: "rq2"}
    assert rq3.read_rows() == rq2.read_rows("trials", id)
    assert rows_of(rq3)[0]["sweep"] == "rq2"
    assert rq3.read_rows("candidates", id) == rq2.read_rows("candidates", id)
    assert rq3.finished() == {id}


def test_a_trial_that_failed_elsewhere_is_not_taken(stores):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0], row={"status": "failed"})
    assert take_over(rq3, {"rq2": rq2.url}, [id], 24) == {}


@pytest.mark.parametrize(("budget_gb", "is_taken"), [(16, True), (24, True), (40, False)])
def test_a_trial_that_ran_out_of_memory_is_taken_unless_it_had_less(stores, budget_gb, is_taken):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0], row={"status": "oom", "gpu_memory_gb": 23.65})
    assert (id in take_over(rq3, {"rq2": rq2.url}, [id], budget_gb)) == is_taken == bool(rq3.read_rows())


def test_a_sweep_without_results_gives_none_and_the_first_that_has_a_trial_gives_it(stores, tmp_path):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0])
    urls = {"none": str(tmp_path / "none"), "rq2": rq2.url, "again": rq2.url}
    assert take_over(rq3, urls, [id], 24) == {id: "rq2"}


def test_columns_that_only_the_other_version_had_are_left_out(stores):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0])
    narrow = ResultStore(rq3.url, {**tables(), "trials": [each for each in tables()["trials"] if each.name != "error"]})
    take_over(narrow, {"rq2": rq2.url}, [id], 24)
    assert "error" not in narrow.read_rows("trials", id)[0]


def test_a_trial_is_taken_from_results_that_were_shared(stores):
    rq2, rq3 = stores
    id = add(rq2, "lora", [1, 0])
    rows = {table: rq2.read_rows(table, id) for table in ("trials", "candidates")}
    rq2.set_aside(id)
    for table, found in rows.items():
        rq2.write_rows(table, "all", found)
    assert take_over(rq3, {"rq2": rq2.url}, [id], 24) == {id: "rq2"}
    assert {table: rq3.read_rows(table, id) for table in rows} == rows
