"""Nothing finished is touched before its replacement stands."""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raypeft.results.attempts import attempt, left_alone, publish, record_fault, standing_row, version
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path), tables())


def row(status: str = "ok", minute: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": "a", "status": status, "started_at": datetime(2026, 1, 1, 0, minute, tzinfo=UTC), **more}


def fill(store: ResultStore, status: str = "ok", minute: int = 0, text: str = "old") -> None:
    store.write_rows("candidates", "a", [{"id": "a", "text": text}])
    store.write_rows("trials", "a", [row(status, minute)])


def files(store: ResultStore) -> dict[str, bytes]:
    paths = [path for path in Path(store.root).rglob("*.parquet") if ".gathered" not in path.parts]
    return {str(path.relative_to(store.root)): path.read_bytes() for path in paths}


def seen(store: ResultStore) -> str:
    standing = standing_row(store, "a")
    assert standing
    return version(standing)


def texts(store: ResultStore) -> list[str]:
    return [each["text"] for each in store.read_rows("candidates", "a")]


def test_a_first_attempt_writes_into_the_tables(store: ResultStore) -> None:
    with attempt(store, "a", "one", None) as running:
        assert running and running.number == 1
        fill(running.store)
        assert texts(store) == ["old"]


def test_what_an_attempt_left_without_a_row_is_set_aside(store: ResultStore) -> None:
    store.write_rows("candidates", "a", [{"id": "a", "text": "half"}])
    with attempt(store, "a", "one", None) as running:
        assert running and texts(store) == []
    assert [name.split("/", 2)[2] for name in files(store)] == ["candidates/a.parquet"]


def test_a_rerun_leaves_the_old_files_in_place_until_its_row_is_there(store: ResultStore) -> None:
    fill(store)
    before = files(store)
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
        running.store.write_rows("candidates", "a", [{"id": "a", "text": "new"}])
        assert {name: content for name, content in files(store).items() if not name.startswith(".running")} == before
        running.store.write_rows("trials", "a", [row(minute=1)])
    assert texts(store) == ["new"] and standing_row(store, "a")["started_at"].minute == 1  # type: ignore[index]
    aside = {name.split("/", 2)[2]: content for name, content in files(store).items() if "superseded" in name}
    assert aside == before
    assert not list((Path(store.root) / ".running").iterdir())


def test_an_interrupted_rerun_changes_nothing(store: ResultStore) -> None:
    fill(store)
    before = files(store)
    with pytest.raises(KeyboardInterrupt), attempt(store, "a", "one", seen(store)) as running:
        assert running
        running.store.write_rows("candidates", "a", [{"id": "a", "text": "new"}])
        raise KeyboardInterrupt
    assert {name: content for name, content in files(store).items() if not name.startswith(".running")} == before
    with attempt(store, "a", "one", seen(store)) as running:
        assert running and running.store.read_rows("candidates", "a") == []


def test_a_rerun_that_fails_leaves_the_result(store: ResultStore) -> None:
    fill(store)
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
        fill(running.store, "failed", 1, "new")
    assert texts(store) == ["old"] and seen(store) == version(row())
    assert {name.split("/", 2)[2] for name in files(store) if "superseded" in name} == {
        "candidates/a.parquet", "trials/a.parquet"
    }  # fmt: skip


def test_a_result_takes_the_place_of_a_failure_of_which_a_copy_stays(store: ResultStore) -> None:
    fill(store, "failed")
    with attempt(store, "a", "one", seen(store)) as running:
        assert running and running.number == 2
        assert seen(store) == version(row("failed")), "until there is another one"
        fill(running.store, "ok", 1, "new")
    assert texts(store) == ["new"] and seen(store) == version(row("ok", 1))
    assert len([name for name in files(store) if "superseded" in name]) == 2


def test_what_another_command_has_finished_meanwhile_is_not_run(store: ResultStore) -> None:
    fill(store)
    for before in (None, "failed None"):
        with attempt(store, "a", "one", before) as running:
            assert running is None
        assert left_alone(store, "a")["status"] == "ok"


def test_an_attempt_that_was_killed_after_its_row_is_published_by_the_next(store: ResultStore) -> None:
    fill(store)
    fill(store.inside(".running/a"), "ok", 1, "new")
    with attempt(store, "a", "one", version(row())) as running:
        assert running is None, "it is done"
    assert texts(store) == ["new"]


def killed_at_move(number: int, store: ResultStore) -> bool:
    """Publish, and die instead of moving this file, counted from 1; False: there are not so many."""
    real, moves = ResultStore.move_any, []

    def move_any(each: ResultStore, path: str, target: str) -> None:
        moves.append(path)
        if len(moves) == number:
            raise KeyboardInterrupt
        real(each, path, target)

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(ResultStore, "move_any", move_any)
        publish(store, "a")
    return len(moves) >= number


def test_an_attempt_that_was_killed_while_its_files_took_their_place_is_published_whole_by_the_next(
    tmp_path: Path,
) -> None:
    number = 0
    was_killed = True
    while was_killed:
        number += 1
        store = ResultStore(str(tmp_path / str(number)), tables())
        fill(store)
        store.put("adapters/a/weights", b"old, and the new trial keeps none")
        fill(store.inside(".running/a"), "ok", 1, "new")
        store.inside(".running/a").put("models/a/weights", b"new")
        store.inside(".running/a").put("checkpoints/a.last.pt", b"last")
        was_killed = killed_at_move(number, store)
        look_at(store)
        assert texts(store) == ["new"] and seen(store) == version(row(minute=1)), number
        assert store.names_of("a") == ["trials/a.parquet", "candidates/a.parquet", "models/a"], number
        assert store.exists("checkpoints/a.last.pt")
        aside = [path for path in (Path(store.root) / "superseded").rglob("*") if path.is_file()]
        assert sorted(path.name for path in aside) == ["a.parquet", "a.parquet", "weights"], "nothing new among them"
    assert number == 8


def test_the_row_of_a_lost_process_never_replaces_a_result(store: ResultStore) -> None:
    fill(store)
    before = files(store)
    told = record_fault(store, {"id": "a", "status": "lost"}, "one", seen(store))
    assert told["status"] == "lost", "what became of this run"
    assert files(store) == before


@pytest.mark.parametrize("place", [".", ".running/a"])
def test_a_process_that_was_lost_after_it_had_written_its_row_has_come_to_that_result(
    store: ResultStore, place: str
) -> None:
    fill(store)
    before = seen(store)
    fill(store.inside(place), "ok", 1, "new")
    assert version(record_fault(store, {"id": "a", "status": "lost"}, "one", before)) == version(row(minute=1))
    assert texts(store) == ["new"]


def test_a_lost_process_is_counted(store: ResultStore) -> None:
    for number in (1, 2, 3):
        assert record_fault(store, {"id": "a", "status": "lost"}, "one", None)["attempts"] == number
    with attempt(store, "a", "one", seen(store)) as running:
        assert running and running.number == 4


def test_publishing_what_is_not_there_does_nothing(store: ResultStore) -> None:
    fill(store)
    before = files(store)
    publish(store, "a")
    assert files(store) == before


DRIVER = """
import os, sys, time
from datetime import UTC, datetime
from raypeft.records import Column
from raypeft.results.attempts import attempt
from raypeft.results.store import ResultStore

columns = [Column(name, kind, "x") for name, kind in
           (("id", str), ("status", str), ("started_at", datetime), ("attempts", int), ("pid", int))]
store = ResultStore(sys.argv[1], {"trials": columns})
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    with attempt(store, f"t{number:02}", f"driver {os.getpid()}", None) as running:
        if running is None:
            continue
        time.sleep(0.02)
        with open(f"{sys.argv[1]}/ran", "a") as log:
            log.write(f"t{number:02}\\n")
        row = {"id": f"t{number:02}", "status": "ok", "started_at": datetime.now(UTC), "pid": os.getpid()}
        running.store.write_rows("trials", row["id"], [row])
        if len(sys.argv) > 3 and number == int(sys.argv[3]):
            time.sleep(600)
"""


def start_driver(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", DRIVER, str(folder), *arguments]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_commands_on_one_folder_share_the_trials(tmp_path: Path) -> None:
    drivers = [start_driver(tmp_path, "40") for _ in range(2)]
    for driver in drivers:
        go(driver)
    for driver in drivers:
        assert driver.wait(timeout=120) == 0
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(ran) == [f"t{number:02}" for number in range(40)], "each once"
    rows = [pq.read_table(path).to_pylist()[0] for path in (tmp_path / "trials").iterdir()]
    assert {row["pid"] for row in rows} == {driver.pid for driver in drivers}, "both took some"


def test_the_trial_of_a_killed_command_is_taken_over(tmp_path: Path) -> None:
    first = start_driver(tmp_path, "3", "1")
    go(first)
    while not (tmp_path / "trials" / "t01.parquet").exists():
        assert first.poll() is None
    first.kill()
    first.wait()
    (tmp_path / "trials" / "t01.parquet").unlink()
    second = start_driver(tmp_path, "3")
    go(second)
    assert second.wait(timeout=120) == 0
    assert (tmp_path / "ran").read_text().split() == ["t00", "t01", "t01", "t02"]


def test_an_interrupted_rerun_finds_its_checkpoint_again_and_what_is_kept_of_it_stays(store: ResultStore) -> None:
    with attempt(store, "a", "one", None) as running:
        assert running
        fill(running.store)
    name = "checkpoints/a/training.pt"
    with attempt(store, "a", "two", seen(store)) as running:
        assert running
        running.store.put(name, b"state")  # and no row: it was interrupted
    with attempt(store, "a", "three", seen(store)) as running:
        assert running
        with running.store.reading(name) as stream:
            assert stream.read() == b"state"
        running.store.put("checkpoints/a.last.pt", b"last")  # what `keep_checkpoints: last` leaves
        fill(running.store, minute=5, text="new")
    assert texts(store) == ["new"] and store.exists(name) and store.exists("checkpoints/a.last.pt")


LEFT = ["checkpoints/a/training.pt", "candidates.partial/a/00000.parquet"]


@pytest.mark.parametrize("status", ["lost", "failed"])
def test_a_rerun_that_ends_in_a_fault_leaves_its_checkpoint_and_parts_to_the_next(
    store: ResultStore, status: str
) -> None:
    fill(store)
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
        for name in LEFT:
            running.store.put(name, b"state")
        fill(running.store, status, 1, "half")
    assert texts(store) == ["old"] and not any(store.exists(name) for name in LEFT)
    with attempt(store, "a", "one", seen(store)) as running:
        assert running and [running.store.read_bytes(name) for name in LEFT] == [b"state", b"state"]
        assert running.store.names_of("a") == []


def test_a_fault_that_takes_the_place_of_a_fault_brings_its_checkpoint_and_parts(store: ResultStore) -> None:
    fill(store, "oom")
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
        for name in LEFT:
            running.store.put(name, b"state")
        fill(running.store, "failed", 1, "half")
    assert standing_row(store, "a")["status"] == "failed"  # type: ignore[index]
    assert [store.read_bytes(name) for name in LEFT] == [b"state", b"state"]


def test_a_rerun_that_ends_in_a_fault_and_has_nothing_to_go_on_from_leaves_no_folder(store: ResultStore) -> None:
    fill(store)
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
        fill(running.store, "failed", 1, "half")
    assert store.names(".running") == []


def test_a_result_in_the_file_of_all_trials_stays_where_its_rerun_is_lost_or_killed(store: ResultStore) -> None:
    store.write_rows("trials", "all", [row()])
    with attempt(store, "a", "one", seen(store)) as running:
        assert running
    assert record_fault(store, {"id": "a", "status": "lost"}, "one", seen(store))["status"] == "lost"
    assert store.statuses() == {"a": "ok"}
    fill(store.inside(".running/a"), "ok", 1, "new")
    assert killed_at_move(2, store) and store.statuses() == {"a": "ok"}
    look_at(store)
    assert texts(store) == ["new"] and seen(store) == version(row(minute=1))
