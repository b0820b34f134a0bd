"""Who runs a trial: one command at a time, until it ends, dies or gives no sign of life."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from raypeft.results import leases
from raypeft.results.leases import Lease, holder, leased, running_elsewhere, take
from raypeft.results.store import ResultStore


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path), {})


def left(store: ResultStore, lease: Lease) -> None:
    """The file of a lease, as another command would have left it."""
    path = Path(store.root) / ".leases" / f"{lease.trial}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(lease)))


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_trial_that_another_command_runs_is_left_to_it(store: ResultStore) -> None:
    with leased(store, "a", "one") as first, leased(store, "a", "two") as second, leased(store, "b", "two") as other:
        assert first and other and second is None
        assert running_elsewhere(store, "two").keys() == {"a"}
    with leased(store, "a", "two") as again:
        assert again
    assert [path.name for path in (Path(store.root) / ".leases").iterdir() if path.name != ".lock"] == []


def winners(store: ResultStore, trial: str) -> list[int]:
    """Which of eight that ask for a trial at the same moment get it."""
    start, got = threading.Barrier(8), []

    def ask(name: int) -> None:
        start.wait()
        if take(store, trial, f"driver {name}"):
            got.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


def test_of_many_that_ask_at_once_one_gets_the_trial(store: ResultStore) -> None:
    for number in range(20):
        assert len(winners(store, f"t{number}")) == 1


def test_of_many_that_take_over_a_dead_lease_one_gets_the_trial(store: ResultStore) -> None:
    lease = take(store, "a", "dead")
    assert lease
    for _ in range(20):
        left(store, replace(lease, token="old", beat=0.0))
        assert len(winners(store, "a")) == 1


def test_a_lease_whose_process_is_gone_from_this_machine_is_free_at_once(store: ResultStore) -> None:
    lease = take(store, "a", "one")
    assert lease
    left(store, replace(lease, pid=gone_pid()))
    assert running_elsewhere(store, "two") == {}
    taken = take(store, "a", "two")
    assert taken and taken.attempt == 2


def test_a_process_of_another_machine_counts_by_its_signs_of_life(store: ResultStore) -> None:
    lease = take(store, "a", "one")
    assert lease
    far = replace(lease, machine="another", pid=gone_pid())
    left(store, far)
    assert take(store, "a", "two") is None
    left(store, replace(far, beat=time.time() - leases.DEAD_AFTER - 1))
    assert take(store, "a", "two")


def test_a_command_takes_up_its_own_trial_again(store: ResultStore) -> None:
    lease = take(store, "a", "one")
    assert lease
    left(store, replace(lease, machine="a node that was lost"))
    again = take(store, "a", "one")
    assert again and again.attempt == 2


def test_a_holder_gives_signs_of_life(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    with leased(store, "a", "one") as lease:
        assert lease
        deadline = time.time() + 20
        while (found := holder(store, "a")) is None or found.beat <= lease.beat:
            assert time.time() < deadline
            time.sleep(0.01)


def test_a_holder_that_lost_its_lease_leaves_that_of_the_other(store: ResultStore) -> None:
    with leased(store, "a", "one") as lease:
        assert lease
        left(store, replace(lease, token="other", driver="two"))
    found = holder(store, "a")
    assert found and found.token == "other"


def test_a_damaged_lease_holds_nobody(store: ResultStore) -> None:
    path = Path(store.root) / ".leases" / "a.json"
    path.parent.mkdir()
    path.write_text("{")
    assert holder(store, "a") is None
