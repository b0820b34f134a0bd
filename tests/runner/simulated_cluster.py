"""Sweeps of stand-ins on a cluster of simulated nodes, which may come and go while a sweep runs.

with Simulated(folder) as cluster:          # the sweep is folder/s.yaml, and its results are in folder/results/s
    cluster.add("24")
    sweep = cluster.start_sweep(seconds=1)
    code, out, err = cluster.ended(sweep)

python tests/runner/simulated_cluster.py FOLDER SECONDS WAITS       # the sweep's process
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PATIENCE = 120.0
"""Seconds in which a stand-in meets what it waits for."""
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 3000}
"""How Ray notices within seconds that a node is lost; by itself it takes half a minute."""


class Simulated:
    """A cluster of processes of this machine. Its head has no CPU, and so no trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Simulated:
        from ray.cluster_utils import Cluster

        self.patch = pytest.MonkeyPatch()
        # Ray starts no node with a pretended GPU where this variable hides all.
        self.patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.patch.setenv("HOME", str(self.folder))
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": QUICK})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cluster.shutdown()
        self.patch.undo()

    def add(self, kind: str) -> Any:
        """A node with a card of so many GB; "away" has another home, and so no results; "roomy" has more cores."""
        smi = self.folder / kind / "nvidia-smi"
        smi.parent.mkdir(exist_ok=True)
        smi.write_text(f"#!/bin/sh\necho { {'8': 8192, '80': 81559}.get(kind, 24564) }\n")
        smi.chmod(0o755)
        variables = {"PATH": f"{smi.parent}:{os.environ['PATH']}"}
        if kind == "away":
            variables["HOME"] = str(self.folder / "elsewhere")
        node = self.cluster.add_node(num_cpus=4 if kind == "roomy" else 1, num_gpus=1, env_vars=variables)
        self.cluster.wait_for_nodes()
        return node

    def lose(self, node: Any) -> None:
        self.cluster.remove_node(node, allow_graceful=False)

    def ran(self, node: Any = None) -> list[str]:
        """The trials that came to a node, or to any."""
        return [path.name.split()[0] for path in (self.folder / "ran").glob(f"* {node.node_id if node else '*'}")]

    def start_sweep(self, seconds: float, waits: bool = False) -> subprocess.Popen[str]:
        """Start the sweep, whose trials sleep so long; with `waits`, until a node has refused one of them."""
        words = [sys.executable, __file__, str(self.folder), str(seconds), "waits" if waits else ""]
        told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, env=os.environ | {"RAY_ADDRESS": self.cluster.address}, **told)

    def until(self, is_so: Callable[[], object], sweep: subprocess.Popen[str]) -> None:
        """Wait until something is so, or the sweep has ended."""
        while not is_so() and sweep.poll() is None:
            time.sleep(0.1)

    def ended(self, sweep: subprocess.Popen[str]) -> tuple[int, str, str]:
        """The exit code of a sweep, and what it printed."""
        try:
            out, err = sweep.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            sweep.kill()
            pytest.fail(f"the sweep must end but did not: {sweep.communicate()}")
        return sweep.returncode, out, err


def put_in_place(folder: Path, seconds: float, waits: bool) -> None:
    """Runs in each worker process of Ray before its first task: trials only sleep, and write a row."""
    import ray

    from raypeft.runner import tuning

    asked = tuning.lacking

    def lacking(needs: Any) -> Any:
        found = asked(needs)
        if found:
            (folder / "refused").touch()
        return found

    def stand_in(context: Any) -> None:
        trial, began = context.trial, time.time()
        (folder / "ran").mkdir(exist_ok=True)
        (folder / "ran" / f"{trial.id} {ray.get_runtime_context().get_node_id()}").touch()
        while waits and not (folder / "refused").exists() and time.time() - began < PATIENCE:
            time.sleep(0.1)
        time.sleep(seconds)
        (folder / "times").mkdir(exist_ok=True)
        (folder / "times" / trial.id).write_text(f"{began} {time.time()} {context.gpu_share}")
        row = {"id": trial.id, "sweep": "s", "status": "ok", **trial.fields, "em_at_10": 0.5}
        context.store.write_rows("trials", trial.id, [row | {"attempts": context.attempt}])

    tuning.lacking, tuning.run_and_record = lacking, stand_in


def run_sweep(folder: Path, seconds: float, waits: bool) -> int:
    import ray

    from raypeft.sweep import main

    def hook() -> None:
        put_in_place(folder, seconds, waits)

    ray.init(logging_level="ERROR", log_to_driver=False, runtime_env={"worker_process_setup_hook": hook})
    return main([str(folder / "s.yaml"), "--results", "~/results"])


if __name__ == "__main__":
    sys.exit(run_sweep(Path(sys.argv[1]), float(sys.argv[2]), bool(sys.argv[3])))
