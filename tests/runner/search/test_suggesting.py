"""Optuna's suggestions: no configuration twice, nothing forgotten, nothing chosen by a test score."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raypeft.results.attempts import version
from raypeft.results.manifest import add_to_plan
from raypeft.results.store import ResultStore
from raypeft.runner.search.suggesting import PointSearch, Suggestions, distribution, place, value_at
from raypeft.runner.search.waiting import Waiting
from raypeft.study.checking import load_config
from raypeft.study.parameters import Parameter
from raypeft.study.plan import plan_sweep
from raypeft.study.searching import SearchPoint
from raypeft.trial.columns import tables
from raypeft.trial.declarations import suggested_trials, unsuggested, write_manifest

pytest.importorskip("optuna")
HEAD = "name: study\ndefaults: {model: toy, dataset: toy}\nsearch: optuna\ngrids: [{tuning_method: lora}]\n"
RATE = "learning_rate: {min: 1.0e-4, max: 1.0e-1, distribution: log_uniform}"


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    made = ResultStore(str(tmp_path / "results"), tables())
    write_manifest(made)
    return made


def points(folder: Path, parameters: str, samples: int = 12) -> list[SearchPoint]:
    file = folder / "study.yaml"
    file.write_text(f"{HEAD}num_samples: {samples}\nparameters: {{{parameters}}}\n")
    return plan_sweep(load_config(file)).suggesting


def suggestions(
    found: list[SearchPoint], store: ResultStore, is_over: Callable[[], bool] = lambda: False
) -> Suggestions:
    searches = [PointSearch(point, "best_eval_loss", True, store) for point in found]
    known = suggested_trials(store, found)
    waiting = [trial for trial in known if not store.read_rows("trials", trial.id)]
    return Suggestions(
        Waiting(waiting, {}), searches, store, lambda trial, key: {"trial": trial, "search": key}, is_over
    )


def write(store: ResultStore, trial: Any, **row: Any) -> None:
    store.write_rows("trials", trial.id, [{"id": trial.id, **trial.fields, "status": "ok", **row}])


def run(search: Suggestions, store: ResultStore, loss: Callable[[Any], float], most: int = 100) -> list[Any]:
    """Answer each suggestion with a row of this loss until nothing more is suggested, or `most` were."""
    trials: list[Any] = []
    while len(trials) < most and isinstance(given := search.suggest(f"tune{len(trials)}"), dict):
        trial = given["planned"]["trial"]
        write(store, trial, best_eval_loss=loss(trial))
        search.on_trial_complete(f"tune{len(trials)}")
        trials.append(trial)
    return trials


def bowl(trial: Any) -> float:
    return (math.log10(trial.fields["learning_rate"]) + 2) ** 2


def test_a_search_has_its_number_of_different_trials_and_then_ends(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE)
    trials = run(suggestions(found, store), store, bowl)
    assert len({trial.id for trial in trials}) == len(trials) == 12
    assert {trial.id for trial in suggested_trials(store, found)} == {trial.id for trial in trials}


def test_what_was_found_draws_the_suggestions(tmp_path: Path, store: ResultStore) -> None:
    trials = run(suggestions(points(tmp_path, RATE, 40), store), store, bowl)
    near = [sum(bowl(trial) < 0.25 for trial in part) for part in (trials[:10], trials[30:])]
    assert near[1] > near[0] + 2  # a random draw is near in one of three cases


def test_every_configuration_of_a_small_space_is_tried_once(tmp_path: Path, store: ResultStore) -> None:
    trials = run(suggestions(points(tmp_path, "lora_r: [4, 8], use_dora: [true, false]"), store), store, lambda _: 1.0)
    pairs = [(trial.fields["lora_r"], trial.fields["use_dora"]) for trial in trials]
    assert sorted(pairs) == [(4, False), (4, True), (8, False), (8, True)]


def test_another_command_goes_on_with_what_is_stored(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE, 40)
    first = run(suggestions(found, store), store, bowl, most=25)
    second = run(suggestions(found, store), store, bowl)
    assert len({trial.id for trial in [*first, *second]}) == 40
    assert sum(bowl(trial) < 0.25 for trial in second) >= 9  # of 15: a random draw is near in one of three cases


def test_a_trial_that_was_suggested_and_has_no_row_is_handed_out_first(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE)
    given = suggestions(found, store).suggest("tune")
    again = suggestions(found, store).suggest("tune")
    assert isinstance(given, dict) and isinstance(again, dict)
    assert again["planned"]["trial"].id == given["planned"]["trial"].id


def test_what_an_interrupted_trial_comes_to_is_told_to_the_search(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE)
    assert suggestions(found, store).suggest("tune")
    again = suggestions(found, store)
    run(again, store, bowl, most=1)
    (told,) = again.searches[0].inner._ot_study.get_trials()
    assert told.value == pytest.approx((math.log10(told.params["learning_rate"]) + 2) ** 2, abs=0.05)


def test_nothing_is_learned_from_a_row_of_other_data_until_it_was_made_anew(tmp_path: Path, store: ResultStore) -> None:
    (point,) = points(tmp_path, RATE)
    trial = point.trial({"learning_rate": 0.01})
    add_to_plan(store, {trial.id: trial.fields})
    write(store, trial, best_eval_loss=0.1)
    (row,) = store.read_rows()
    made = PointSearch(point, "best_eval_loss", True, store, {trial.id: version(row)})
    assert made.inner._ot_study.get_trials() == [] and trial.id in made.known
    write(store, trial, best_eval_loss=0.4, started_at=datetime.now(UTC))
    made.complete(trial.id)
    assert [each.value for each in made.inner._ot_study.get_trials()] == [0.4]


def test_what_another_command_comes_to_meanwhile_is_learned_once(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE)
    one, other = suggestions(found, store), suggestions(found, store)
    given = one.suggest("tune0")
    assert isinstance(given, dict) and other.suggest("tune0")
    write(store, given["planned"]["trial"], best_eval_loss=0.4)
    assert other.suggest("tune1") and other.suggest("tune2")
    told = [each.value for each in other.searches[0].inner._ot_study.get_trials()]
    assert [value for value in told if value is not None] == [0.4]


def test_two_commands_share_the_number_of_trials(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, RATE)
    one, other = suggestions(found, store), suggestions(found, store)
    trials = [each for _ in range(6) for search in (one, other) for each in run(search, store, bowl, most=1)]
    assert len({trial.id for trial in trials}) == 12
    assert not run(one, store, bowl) and not run(other, store, bowl)


@pytest.mark.parametrize("row", [{"status": "failed"}, {"status": "oom"}, {"best_eval_loss": float("nan")}])
def test_settings_that_came_to_nothing_repel_the_search(
    tmp_path: Path, store: ResultStore, row: dict[str, Any]
) -> None:
    search = suggestions(points(tmp_path, RATE, 40), store)
    rates = []
    for number in range(40):
        given = search.suggest(f"tune{number}")
        assert isinstance(given, dict)
        trial = given["planned"]["trial"]
        rates.append(trial.fields["learning_rate"])
        write(store, trial, **(row if rates[-1] > 1e-2 else {"best_eval_loss": bowl(trial)}))
        search.on_trial_complete(f"tune{number}")
    assert sum(rate > 1e-2 for rate in rates[20:]) <= 8  # the loss falls up to the rate where it fails


def test_nothing_is_suggested_once_the_command_is_told_to_stop(tmp_path: Path, store: ResultStore) -> None:
    assert suggestions(points(tmp_path, RATE), store, lambda: True).suggest("tune") is None
    assert not suggested_trials(store, points(tmp_path, RATE))


def test_one_point_after_the_other_is_searched(tmp_path: Path, store: ResultStore) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"{HEAD.replace('tuning_method: lora', 'tuning_method: lora, seed: [1, 2]')}"
                    f"num_samples: 3\nparameters: {{{RATE}}}\n")  # fmt: skip
    trials = run(suggestions(plan_sweep(load_config(file)).suggesting, store), store, bowl)
    assert [trial.seed for trial in trials] == [1, 1, 1, 2, 2, 2]


def test_values_that_are_listed_go_to_optuna_and_back(tmp_path: Path) -> None:
    for values in ((4, 8, 16), (True, False), ("cosine", "linear"), (("q_proj",), ("q_proj", "v_proj"))):
        listed = Parameter(values=values)
        assert [place(listed, value_at(listed, index)) for index in range(len(values))] == list(range(len(values)))
    assert type(distribution(Parameter(values=(4, 8, 16)))).__name__ == "IntDistribution"
    assert type(distribution(Parameter(values=(True, False)))).__name__ == "CategoricalDistribution"


def test_a_search_that_has_tried_all_there_is_leaves_nothing_to_suggest(tmp_path: Path, store: ResultStore) -> None:
    found = points(tmp_path, "lora_r: [4, 8]")
    trials = run(suggestions(found, store), store, lambda _: 1.0)
    whole = plan_sweep(load_config(tmp_path / "study.yaml"))
    assert (len(trials), whole.total, unsuggested(whole, trials)) == (2, 2, 0)


def test_a_search_with_more_trials_than_it_asks_for_takes_none_from_another(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        f"{HEAD.replace('lora', '[lora, ia3]')}num_samples: 3\nparameters: {{{RATE}}}\n"
    )
    whole = plan_sweep(load_config(tmp_path / "study.yaml"))
    many = [whole.searches[0].trial({"learning_rate": rate}) for rate in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3)]
    assert unsuggested(whole, many) == 3


def test_a_suggestion_that_another_command_wrote_over_is_written_again(tmp_path: Path, store: ResultStore) -> None:
    search = suggestions(points(tmp_path, RATE), store)
    before = store.read_manifest()
    given = search.suggest("tune0")
    assert isinstance(given, dict) and before is not None
    store.write_manifest(before)  # as a command does that had read the plan before the suggestion stood in it
    trial = given["planned"]["trial"]
    write(store, trial, best_eval_loss=0.5)
    search.on_trial_complete("tune0")
    after = store.read_manifest()
    assert after is not None and list(after.plan) == [trial.id]


def test_the_trials_of_a_plain_plan_are_handed_over_one_by_one_in_their_order(
    tmp_path: Path, store: ResultStore
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("name: g\ngrids: [{model: toy, dataset: toy, tuning_method: lora, lora_r: [2, 4, 8]}]\n")
    trials = plan_sweep(load_config(file)).trials
    search = Suggestions(
        Waiting(trials, {}), [], store, lambda trial, key: {"trial": trial, "search": key}, lambda: False
    )
    given = [search.suggest(f"tune{place}") for place in range(3)]
    assert [each["planned"]["trial"].id for each in given if isinstance(each, dict)] == [trial.id for trial in trials]
    assert search.suggest("tune3") == search.FINISHED
    search.on_trial_complete("tune0")
