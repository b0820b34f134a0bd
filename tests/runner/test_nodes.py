"""What nodes are asked before the first trial, and what is made of their answers; at the end in a real cluster."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_cluster import Simulated

from raypeft.events import Noted
from raypeft.results.files import Folder
from raypeft.runner import nodes, tuning
from raypeft.runner.code import PACKAGE, code_digest
from raypeft.runner.nodes import (
    GIVE_UP,
    PACKAGES,
    SAY_AFTER,
    Needs,
    Node,
    Waiting,
    lacking,
    look,
    look_at_nodes,
    needs_of,
)
from raypeft.runner.pulse import RayLost
from raypeft.runner.relay import events_of
from raypeft.runner.run import SweepRun
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep
from raypeft.study.sweepfile import ConfigError

SAME = dict(nodes._versions())


def needs(folder: Path, *paths: str) -> Needs:
    lacking.cache_clear()
    return Needs(str(folder), paths, str(folder), ".nodes/mark")


def of_ray(name: str, **resources: float) -> dict:
    return {"NodeID": name, "Alive": True, "NodeManagerHostname": f"host-{name}", "NodeManagerAddress": "10.0.0.1",
            "Resources": resources or {"CPU": 4.0}}  # fmt: skip


def looked_at(monkeypatch: pytest.MonkeyPatch, **answers: Node):
    monkeypatch.setattr(nodes, "_alive", lambda: [of_ray(name) for name in answers])
    monkeypatch.setattr(nodes, "_answers", lambda there, needs: answers.items())
    return look_at_nodes(Needs("", (), "", ""), 24)


def test_a_sweep_needs_the_files_and_folders_that_its_fields_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"q": "{n}", "a": "b"}}\n' for n in range(30)))
    (tmp_path / "s.yaml").write_text("""
name: s
datasets: {mine: {path: rows.jsonl, prompt: q, answer: a}}
grids:
  - {model: toy, dataset: mine, tuning_method: [zero_shot, {name: rag, embedding_model: toy}]}
""")
    sweep = load_config(tmp_path / "s.yaml", [])
    plan = plan_sweep(sweep)
    run = SweepRun("s", "s3://bucket/s", sweep.config.resources, sweep.config.run_options())
    found = needs_of(run, plan.trials)
    assert (found.folder, found.paths) == (str(tmp_path), (str(tmp_path / "rows.jsonl"),))
    assert found.code == code_digest()


def test_a_node_that_has_everything_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    Folder(str(tmp_path)).put(".nodes/mark", b"")
    found = look(needs(tmp_path, "rows.jsonl"))
    assert not found.lacks
    assert set(found.versions) == set(PACKAGES)


def test_a_node_tells_each_thing_that_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nodes, "PACKAGES", (*PACKAGES, "a-package-of-nobody"))
    paths, results, package = look(needs(tmp_path, str(tmp_path / "rows.jsonl"))).lacks
    assert paths == f"{tmp_path / 'rows.jsonl'} is not there"
    assert results.startswith(f"{tmp_path} is another folder there than here")
    assert package == "the package a-package-of-nobody is not installed"


def test_nodes_that_lack_something_are_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    fleet = looked_at(monkeypatch, a=Node("a", versions=SAME), b=Node("b", ["/data is not there"], SAME),
                      c=Node("c", ["/data is not there"], SAME))  # fmt: skip
    assert fleet.left_out == ["b", "c"]
    assert fleet.notes == ["2 nodes: host-b (10.0.0.1), host-c (10.0.0.1) of 3 left out: /data is not there"]
    assert len(fleet.nodes) == 1


def test_a_cluster_without_a_node_that_has_everything_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"at least one of its nodes but /data is not there \(2 nodes: host-a"):
        looked_at(monkeypatch, a=Node("a", ["/data is not there"]), b=Node("b", ["/data is not there"]))


def test_small_cards_are_left_out_beside_large_ones_and_do_not_make_shares_of_them_larger(
    monkeypatch: pytest.MonkeyPatch,
):
    fleet = looked_at(monkeypatch, a=Node("a", (), SAME, [80.0]), b=Node("b", (), SAME, [8.0]), c=Node("c", (), SAME))
    assert (fleet.left_out, fleet.cards_gb) == (["b"], [80.0])
    assert "host-b (10.0.0.1) of 3 left out: the GPU has less than the 24 GiB of a trial" in fleet.notes[0]


def test_another_version_on_a_node_is_a_warning(monkeypatch: pytest.MonkeyPatch):
    fleet = looked_at(monkeypatch, a=Node("a", (), SAME), b=Node("b", (), SAME | {"peft": "0.1"}))
    assert not fleet.left_out
    assert fleet.notes[0].startswith(f"warning: peft is {SAME['peft']} here and 0.1 on other nodes")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch):
    time = [1000.0]
    monkeypatch.setattr(nodes.time, "monotonic", lambda: time[0])
    return time


def test_trials_that_no_node_can_take_are_said_and_then_given_up(now):
    there = [of_ray("a", CPU=8), of_ray("b", CPU=8, GPU=1), of_ray("c", CPU=8, GPU=1) | {"Alive": False}]
    waiting = Waiting({"CPU": 1, "GPU": 1}, ["b"])
    assert waiting.look(True, there) is None
    now[0] += SAY_AFTER
    said = waiting.look(True, there)
    assert said and "no node that can take a trial (1 CPU and 1 GPU) is there" in said
    assert waiting.look(True, there) is None, "once is enough"
    now[0] += GIVE_UP
    with pytest.raises(RayLost, match="joined for 30 minutes; the same command goes on"):
        waiting.look(True, there)


def test_trials_that_wait_for_a_node_that_others_use_are_said_once_and_never_given_up(now):
    there, waiting = [of_ray("a", CPU=8, GPU=1)], Waiting({"CPU": 1, "GPU": 1}, ())
    assert waiting.look(True, there) is None
    now[0] += SAY_AFTER
    said = waiting.look(True, there)
    assert said and "other jobs may have what every node that can take a trial (1 CPU and 1 GPU) offers" in said
    now[0] += 2 * GIVE_UP
    assert waiting.look(True, there) is None


def test_nothing_is_said_while_a_trial_runs_and_the_waiting_begins_anew_after_it(now):
    there, waiting = [of_ray("a", CPU=1)], Waiting({"CPU": 1}, ())
    for is_waiting in (True, False, True):
        assert waiting.look(is_waiting, there) is None
        now[0] += SAY_AFTER - 1
    assert waiting.look(True, there) is None
    lacking_one = Waiting({"CPU": 2}, ())
    lacking_one.look(False, there)
    now[0] += 2 * GIVE_UP
    assert lacking_one.look(False, there) is None


def test_a_process_on_a_node_that_joined_later_refuses_its_trial_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    told: list[dict] = []
    monkeypatch.setattr(tuning.tune, "report", told.append)
    monkeypatch.setattr(tuning.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "late"))
    with pytest.raises(RuntimeError, match=r"rows\.jsonl is not there"):
        tuning.run_tune_trial({"folder": str(tmp_path), "needs": needs(tmp_path, "rows.jsonl")})
    (event,) = events_of(told[0])
    assert told[0]["refused_by"] == "late"
    assert isinstance(event, Noted) and "cannot run trials: rows.jsonl is not there; " in event.text
    assert not list(tmp_path.iterdir()), "no row is written where nobody looks"


def test_a_process_refuses_a_trial_for_which_the_cards_of_its_node_are_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Folder(str(tmp_path)).put(".nodes/mark", b"")
    monkeypatch.setattr(nodes, "nvidia_smi", lambda: [80.0, 8.0])
    monkeypatch.setattr(tuning.tune, "report", lambda _: None)
    monkeypatch.setattr(tuning.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "late"))
    asked = replace(needs(tmp_path), card_gb=21.6)
    with pytest.raises(RuntimeError, match=r"its GPU has 8\.0 GiB, and trials count on 21\.6 GiB"):
        tuning.run_tune_trial({"folder": str(tmp_path), "needs": asked})
    assert not lacking(replace(asked, card_gb=8.0))
    monkeypatch.setattr(nodes, "nvidia_smi", list)
    assert not lacking(replace(asked, card_gb=30.0)), "it cannot be told without the driver"


def test_a_node_on_which_another_raypeft_comes_first_lacks_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Folder(str(tmp_path)).put(".nodes/mark", b"")
    ours = replace(needs(tmp_path), code=code_digest())
    assert not lacking(ours)
    package = shutil.copytree(PACKAGE, tmp_path / "site" / "raypeft", ignore=shutil.ignore_patterns("__pycache__"))
    assert code_digest(package) == code_digest(), "wherever it lies"
    with (package / "stopping.py").open("a") as file:
        file.write("# another\n")
    monkeypatch.setattr(nodes, "code_digest", lambda: code_digest(package))
    lacking.cache_clear()
    (reason,) = look(ours).lacks
    assert reason.startswith("the code of raypeft is another there")


@pytest.mark.slow
@pytest.mark.cluster
def test_trials_go_to_nodes_with_large_cards_that_share_the_results_and_the_driver_needs_no_card(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("""
name: s
defaults: {model: toy, dataset: toy}
grids:
  - {tuning_method: lora, lora_r: [1, 2, 3, 4, 5, 6], seed: [1, 2]}
""")
    with Simulated(tmp_path) as cluster:
        nodes = {kind: cluster.add(kind) for kind in ("24", "80", "8", "away")}
        code, _, told = cluster.ended(cluster.start_sweep(seconds=0.2))
        ran = {kind: len(cluster.ran(node)) for kind, node in nodes.items()}
    assert code == 0, told
    assert ran["24"] and ran["80"] and ran["24"] + ran["80"] == 12 and not ran["8"] + ran["away"]
    assert re.search(r"1 node: .* of 5 left out: the GPU has less than the 24 GiB of a trial", told)
    assert re.search(r"1 node: .* of 5 left out: ~/results/s is another folder there than here", told)


@pytest.mark.slow
@pytest.mark.cluster
def test_small_trials_share_a_card_if_they_may(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("""
name: s
defaults: {model: toy, dataset: toy}
resources: {share: auto}
grids:
  - {tuning_method: lora, seed: [1, 2, 3, 4]}
""")
    with Simulated(tmp_path) as cluster:
        cluster.add("roomy")
        code, _, told = cluster.ended(cluster.start_sweep(seconds=40))
    assert code == 0, told
    times = [each.read_text().split() for each in (tmp_path / "times").iterdir()]
    assert {share for *_, share in times} == {"0.126"}, "3 of 23.99 GiB, rounded up"
    began, ended = zip(*((float(start), float(end)) for start, end, _ in times), strict=True)
    at_once = max(sum(start <= moment < end for start, end in zip(began, ended, strict=True)) for moment in began)
    assert at_once >= 2, "all that start within the first one's time"


@pytest.mark.slow
@pytest.mark.cluster
def test_a_node_that_joins_late_and_refuses_trials_costs_none_of_them_a_failure(tmp_path: Path):
    (tmp_path / "s.yaml").write_text("""
name: s
max_failures: 0
defaults: {model: toy, dataset: toy}
grids:
  - {tuning_method: lora, seed: [1, 2, 3, 4]}
""")
    with Simulated(tmp_path) as cluster:
        first = cluster.add("24")
        sweep = cluster.start_sweep(seconds=0.1, waits=True)
        cluster.until(cluster.ran, sweep)
        cluster.add("away")
        code, _, told = cluster.ended(sweep)
        assert code == 0, told
        assert len(cluster.ran(first)) == 4
    assert (tmp_path / "refused").exists() and "died" not in told
    assert "cannot run trials: ~/results/s is another folder there than here" in told
