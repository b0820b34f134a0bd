"""The benchmark of a GPU asks for what is there, ends in time, and fails where the product does not do as it should."""

import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
OWN = ("broken", "full", "together", "same")
Benchmark = Callable[[str], ModuleType]


@pytest.fixture(params=["true sizes", "rehearsal", "own data and model"])
def parts(benchmark: Benchmark, request: pytest.FixtureRequest) -> dict[str, list[str]]:
    given = {"rehearsal": ["--rehearse", "--data", "d"], "own data and model": ["--data", "d", "--model", "m"]}
    gpu = benchmark("gpu")
    return gpu.parts(gpu.make_parser().parse_args(given.get(request.param, [])))


def test_every_part_is_a_script_that_is_there_with_options_that_it_takes(
    benchmark: Benchmark, parts: dict[str, list[str]]
) -> None:
    for script, *words in parts.values():
        if script == "-m":
            assert all(Path(word).is_file() for word in words if word.endswith(".py"))
        else:
            assert (FOLDER / script).is_file()
            benchmark(script.removesuffix(".py")).make_parser().parse_args(words)


def test_every_random_model_that_a_part_names_can_be_built(benchmark: Benchmark, parts: dict[str, list[str]]) -> None:
    names = {words[words.index("--random") + 1] for words in parts.values() if "--random" in words}
    assert "CodeLlama-7b-hf" in names
    for name in names:
        benchmark("generation").random_base(name, torch.bfloat16, device="meta")


def test_the_most_valuable_parts_come_first_and_each_bar_has_a_part(parts: dict[str, list[str]]) -> None:
    names = list(parts)
    assert names[:3] == ["tests", "training 135M", "decoding 135M, 16 at once"]
    assert [name for name in names if name in OWN] == list(OWN)
    assert names.index(OWN[-1]) < names.index("training 360M")
    bars = [name for name in names if name.startswith("memory ")]
    assert bars == names[len(names) - len(bars) :]
    assert len(bars) in (0, 10)


PART = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
Path("child").write_text(str(child.pid))
print("it waits", flush=True)
Path(sys.argv[-1]).write_text("# A table")
time.sleep(60 if sys.argv[1] == "slow" else 0)
"""


def runs(pid: int) -> bool:
    """Whether a process runs: one that has ended may wait for its parent to look at it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_part_that_takes_too_long_is_ended_with_its_children_and_is_run_again(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gpu = benchmark("gpu")
    (tmp_path / "part.py").write_text(PART)
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)
    for how, seconds, succeeds in (("slow", 2, False), ("quick", 30, True)):
        assert gpu.run_part("a/b", ["part.py", how], tmp_path, seconds) is succeeds
        until = time.monotonic() + 10
        while runs(int((tmp_path / "child").read_text())):
            assert time.monotonic() < until
            time.sleep(0.05)
        told = tmp_path / "a b.failed.txt"
        assert told.is_file() is not succeeds
        assert succeeds or (told.read_text().startswith("killed after 2 s") and "it waits" in told.read_text())
        assert (tmp_path / "a b.md").is_file() is succeeds
        assert not (tmp_path / "a b.table").exists()


def test_what_is_done_is_not_run_again_and_the_bars_of_memory_are_one_table(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu, asked = benchmark("gpu"), []
    every = {"full": ["full.py"], "memory a/b": ["memory.py"], "memory c/d": ["memory.py"], "same": ["same.py"]}
    monkeypatch.setattr(gpu, "parts", lambda options: every)

    def run(name: str, words: list[str], folder: Path, seconds: float) -> bool:
        asked.append((name, seconds >= gpu.LEAST))
        gpu.kept(folder, name, "md").write_text(f"# Title\n\n| bar |\n| --- |\n| {name} |\n")
        return True

    monkeypatch.setattr(gpu, "run_part", run)
    for only in (["memory"], ["memory", "full"]):
        monkeypatch.setattr(sys, "argv", ["gpu", "--folder", str(tmp_path), "--only", *only])
        assert gpu.main() == 0
    assert asked == [("memory a/b", True), ("memory c/d", True), ("full", True)]
    told = capsys.readouterr().out
    assert "| memory a/b |\n| memory c/d |" in told
    assert "Not measured yet: same." in told


def test_a_bar_that_fails_makes_its_part_fail(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory, found = benchmark("memory"), {"bar": "codet5p-220m/full", "status": "failed (exit status 1)"}
    (tmp_path / "train.jsonl").touch()
    monkeypatch.setattr(memory, "in_own_process", lambda bar, words: found)
    monkeypatch.setattr(sys, "argv", ["memory", "--data", str(tmp_path), "--bars", found["bar"]])
    assert memory.main() == 1


@pytest.mark.parametrize(("mib", "ways"), [("24564", [1, 4]), ("81559", [1, 4, 8, 16])])
def test_only_as_many_trainings_share_a_card_as_their_budgets_fit(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, mib: str, ways: list[int]
) -> None:
    monkeypatch.setattr("raypeft.gpu.ask_driver", lambda what: [mib])
    parts = benchmark("gpu_parts")
    assert parts.on_this_card(parts.AT_ONCE) == ways


WORKER = """
import json, sys
def tell(status, speed):
    print("result: " + json.dumps({"status": status, "error": None, "train_tokens_per_second": speed}), flush=True)
tell("ok", 1)
for line in sys.stdin:
    tell(*(("oom", None) if int(line) == 201 else ("ok", 50)))
"""


def test_trainings_at_once_are_counted_by_how_they_ended(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = benchmark("gpu_parts")
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(parts, "__file__", str(tmp_path / "worker.py"))
    lines = parts.together(Namespace(model="toy", rehearse=True))
    assert lines[-2].startswith("| 1 | 1 ok |")
    assert lines[-1].startswith("| 2 | 1 ok, 1 oom |")
    assert lines[-1].split("|")[4].strip() == "50"


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ([("ok", 4), ("oom", None), ("ok", 8)], True),
        ([("oom", None), ("oom", None), ("ok", 8)], True),
        ([("ok", 64), ("oom", None), ("ok", 8)], False),
        ([("ok", 4), ("ok", 1), ("ok", 8)], False),
        ([("ok", 4), ("oom", None), ("failed", None)], False),
    ],
)
def test_trainings_that_do_not_run_out_of_memory_or_leave_none_behind_are_a_failure(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, Any]], right: bool
) -> None:
    parts = benchmark("gpu_parts")
    rows = [{"status": status, "micro_batch_size": size, "error": None} for status, size in found]
    monkeypatch.setattr(parts, "run_trial", lambda *_, **__: rows.pop(0))
    monkeypatch.setattr("raypeft.gpu.take_budget", lambda budget: min(budget, 24))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Namespace(total_memory=2**36))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda fraction: None)
    if right:
        assert parts.full(Namespace(model="toy"))[0] == "## Trainings that do not fit"
    else:
        with pytest.raises(SystemExit):
            parts.full(Namespace(model="toy"))


@pytest.mark.slow
def test_parts_are_rehearsed_without_a_gpu(tmp_path: Path) -> None:
    words = [str(FOLDER / "gpu.py"), "--rehearse", "--folder", str(tmp_path), "--only", "same", "full"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + "".join(each.read_text() for each in tmp_path.glob("*.failed.txt"))
    assert {each.name for each in tmp_path.iterdir()} == {"same.md", "full.md"}
