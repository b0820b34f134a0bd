"""The tutorials do what they say: every command and every piece of Python in them runs, in order, in a new folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("tutorial_*.md"))

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = "import subprocess\nsubprocess.run(['bash', '-euo', 'pipefail', '-c', {!r}], check=True)\n"


def as_program(page: str) -> str:
    """The blocks of a page as one Python program. Blocks marked as `console` are not run: they need a cluster."""
    return "\n".join(text if kind == "python" else SHELL.format(text) for kind, text in BLOCK.findall(page))


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    found = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | found,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    done = run(as_program(page.read_text("utf-8")), tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def test_a_failing_command_of_a_page_fails_its_program(tmp_path: Path) -> None:
    page = "```bash\ntouch made\nfalse\ntouch not_made\n```\n\n```python\nraise SystemExit(0)\n```\n"
    assert run(as_program(page), tmp_path).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_blocks_of_a_page_share_their_names_and_console_blocks_are_left_out(tmp_path: Path) -> None:
    page = "```python\nx = 41\n```\n\n```console\n$ false\n```\n\n```python\nprint(x + 1)\n```\n"
    done = run(as_program(page), tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "42")


def test_every_tutorial_has_something_to_run() -> None:
    assert {page.stem for page in PAGES} == {
        "tutorial_cluster",
        "tutorial_own_data",
        "tutorial_results",
        "tutorial_sensitivity",
    }
    assert all(len(BLOCK.findall(page.read_text("utf-8"))) >= 3 for page in PAGES)
