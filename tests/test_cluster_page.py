"""The commands by which docs/cluster.md starts a cluster by hand, on two nodes of this machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^([a-z]+-node)\$ +(.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOKEN = "0123456789abcdef" * 4


def lines(page: str) -> list[tuple[str, str]]:
    """The commands of a page's console blocks that start with the name of a node, as (node, command)."""
    return [
        found for block in BLOCK.findall((ROOT / "docs" / page).read_text("utf-8")) for found in LINE.findall(block)
    ]


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a token in it, as a local sweep leaves it. What was started there is ended afterwards."""
    folder = tmp_path_factory.mktemp("h")
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text(TOKEN)
    yield folder
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == str(folder):
                process.kill()


class Nodes:
    """Shells of several nodes that share a home: what one exports holds for its next commands."""

    def __init__(self, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        away = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name not in away}
        self.environment = kept | {"HOME": str(home), "RAY_TMPDIR": str(home), "PYTHONPATH": str(ROOT), "PATH": path}
        self.exported: dict[str, dict[str, str]] = {}
        self.shared = home / "shared"

    def run(self, node: str, command: str) -> str:
        """What the command says. Fails where it does."""
        exported = self.exported.setdefault(node, {})
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            exported[name] = value
            return ""
        here = command.replace("main-node", "127.0.0.1").replace("6379", self.port).replace("/shared", str(self.shared))
        here = f"{here} --num-cpus=1" if here.startswith("ray start") else here
        with (self.shared.parent / "said").open("w+") as said:  # Ray's processes would hold a pipe open
            done = subprocess.run(["bash", "-c", here], env=self.environment | exported, cwd=self.shared.parent,
                                  stdout=said, stderr=subprocess.STDOUT, timeout=400)  # fmt: skip
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, f"{node}$ {here}\n{text[-5000:]}"
        return text


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_cluster_by_hand_starts_though_a_token_is_there_and_runs_a_sweep(home: Path) -> None:
    nodes = Nodes(home)
    for node, command in lines("cluster.md"):
        said = nodes.run(node, command)
        if command == "ray status":
            assert "/2.0 CPU" in said
    assert "5 of 5" in said or "all 5" in said, said


def test_the_page_has_the_commands_that_start_a_cluster_by_hand() -> None:
    started = [command for _, command in lines("cluster.md") if command.startswith(("ray ", "export "))]
    assert len(started) == 6
