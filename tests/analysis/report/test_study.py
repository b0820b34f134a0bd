"""What a report is made of: the rows of several folders, and how far their sweeps are."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from report_folders import add_answers, add_row, hits_of_share, made_row, made_study, store_at, write_plan

from raypeft.analysis.report.cautions import conflicting, unfinished
from raypeft.analysis.report.study import open_study
from raypeft.results.store import ResultStore


def test_a_study_without_a_manifest_counts_its_rows(tmp_path: Path) -> None:
    made_study(tmp_path / "a")
    study = open_study([str(tmp_path / "a")])
    assert (study.title, study.state, study.is_unfinished) == ("made", "12 trials", False)
    assert (len(study.scored), len(study.unscored)) == (10, 2)


def test_a_sweep_that_runs_says_how_far_it_is(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    done = add_row(store, made_row(hits_of_share(0.5)))
    write_plan(store, [done, "b", "c"], text="name: made\nquestion: |\n  Does it\n  work?\n")
    study = open_study([str(tmp_path)])
    assert (study.state, study.is_unfinished, study.sweeps[0].missing) == ("1 of 3 trials", True, ["b", "c"])
    assert study.sweeps[0].question == "Does it work?"


def test_a_search_with_trials_still_to_suggest_is_not_finished(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    write_plan(store, [add_row(store, made_row(hits_of_share(0.5)))])
    manifest = store.read_manifest()
    assert manifest is not None
    store.write_manifest(replace(manifest, sweep={**manifest.sweep, "trials": "24"}))
    study = open_study([str(tmp_path)])
    assert (study.state, study.is_unfinished) == ("1 of 24 trials", True)
    assert [*unfinished(study, ())] == ["made is not finished: 23 of 24 trials have no row yet"]


def test_rows_of_an_earlier_plan_are_told_apart(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_row(store, made_row(hits_of_share(0.5)))
    write_plan(store, ["b"])
    assert open_study([str(tmp_path)]).state == "0 of 1 trials, and 1 of an earlier plan"


def test_folders_are_joined_and_a_trial_of_both_is_shown_once(tmp_path: Path) -> None:
    for name, method in (("a", "lora"), ("b", "full")):
        store = store_at(tmp_path / name)
        add_row(store, {**made_row(hits_of_share(0.5), tuning_method="zero_shot"), "sweep": name})
        add_row(store, {**made_row(hits_of_share(0.5), tuning_method=method), "sweep": name})
    study = open_study([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [(row["tuning_method"], row["folder"]) for row in study.rows] == [
        ("zero_shot", "a"), ("lora", "a"), ("full", "b")]  # fmt: skip
    assert (study.title, study.repeated) == ("a + b", 1)


def test_two_sweeps_of_one_name_are_named_by_their_folders(tmp_path: Path) -> None:
    for name in ("one", "two"):
        add_row(store_at(tmp_path / name), made_row(hits_of_share(0.5), tuning_method="full", seed=len(name)))
    assert open_study([str(tmp_path / "one"), str(tmp_path / "two")]).title == "one + two"


def test_a_folder_named_twice_is_refused(tmp_path: Path) -> None:
    made_study(tmp_path)
    with pytest.raises(ValueError, match="must be different ones"):
        open_study([str(tmp_path), str(tmp_path)])


def test_a_damaged_file_is_left_out_and_named(tmp_path: Path) -> None:
    count = len(made_study(tmp_path).read_rows())
    path = sorted((tmp_path / "trials").iterdir())[3]
    path.write_bytes(b"PAR1 not really")
    study = open_study([str(tmp_path)])
    assert len(study.rows) == count - 1
    assert f"{path.name}: must be a Parquet file but is damaged" in study.sweeps[0].store.damaged[str(path)]


def test_a_table_in_one_file_is_read_by_trial(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    trial = add_row(store, made_row(hits_of_share(0.5)))
    add_answers(store, trial, [True, False])
    (tmp_path / "candidates" / f"{trial}.parquet").rename(tmp_path / "candidates" / "all.parquet")
    sweep = open_study([str(tmp_path)]).sweeps[0]
    assert len(sweep.read("candidates", trial)) == 4 and sweep.read("candidates", "other") == []


def test_rows_of_another_version_are_read(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    add_row(store, made_row(hits_of_share(0.5)))
    path = next((tmp_path / "trials").iterdir())
    table = pq.read_table(path)
    few = table.select(["id", "sweep", "model", "dataset", "tuning_method", "status", "em_at_10", "seed"])
    pq.write_table(few.append_column("novelty", [["new"]]), path)
    study = open_study([str(tmp_path)])
    assert study.rows[0]["novelty"] == "new" and study.rows[0]["lora_r"] is None
    assert isinstance(study.sweeps[0].store, ResultStore)


def in_two(tmp_path: Path, **second: object) -> list[str]:
    """Two groups' folders of one sweep that share a trial; `second` are columns of the second group's row of it."""
    urls = []
    for name, own, more in (("ours", 8, {}), ("theirs", 16, second)):
        store = store_at(tmp_path / name)
        shared = made_row(hits_of_share(0.5), more={"git_commit": "a" * 40, **more}, lora_r=4)
        ids = [add_row(store, shared), add_row(store, made_row(hits_of_share(0.25), lora_r=own))]
        text = "claims: [{better: {tuning_method: lora}, than: {tuning_method: full}, 'on': em_at_1}]"
        write_plan(store, sorted({ids[0], made_row(lora_r=8)["id"], made_row(lora_r=16)["id"]}), text=text)
        urls.append(store.url)
    return urls


def test_two_parts_of_one_sweep_are_one_finished_table_with_its_claims_once(tmp_path: Path) -> None:
    study = open_study(in_two(tmp_path))
    assert sorted(row["lora_r"] for row in study.rows) == [4, 8, 16] and not study.is_unfinished
    assert study.state == "ours: 2 of 3 trials; theirs: 2 of 3 trials; together 3 of 3 trials"
    assert len(study.findings) == 1
    assert (study.repeated, study.conflicts) == (1, ())


def test_a_trial_with_other_scores_in_two_folders_is_named_with_them(tmp_path: Path) -> None:
    study = open_study(in_two(tmp_path, em_at_1=0.75))
    (found,) = study.conflicts
    assert found.in_scores and str(found) == f"trial {found.trial} of ours and theirs: EM@1 50.0 and 75.0"
    assert next(row for row in study.rows if row["id"] == found.trial)["em_at_1"] == 0.5
    assert any(str(found) in line for line in conflicting(study, ()))


def test_a_trial_of_other_code_and_equal_scores_is_told_apart(tmp_path: Path) -> None:
    study = open_study(in_two(tmp_path, git_commit="b" * 40))
    (found,) = study.conflicts
    assert not found.in_scores and found.differs == (f"git_commit {'a' * 19} and {'b' * 19}",)
    (told,) = conflicting(study, ())
    assert told.startswith("same scores in another folder, but other code, data or hardware: 1 trials; the first is")


def test_scores_of_another_folder_take_the_place_of_a_failure(tmp_path: Path) -> None:
    failed, ok = store_at(tmp_path / "a"), store_at(tmp_path / "b")
    trial = add_row(failed, made_row(status="failed"))
    assert add_row(ok, made_row(hits_of_share(0.5))) == trial
    study = open_study([failed.url, ok.url])
    assert [(row["status"], row["folder"]) for row in study.rows] == [("ok", "b")] and study.home[trial].name == "b"
    assert study.conflicts == ()
