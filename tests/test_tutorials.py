"""The tutorials do what they say: every command and every piece of Python in them runs, in order, in a new folder."""

import os
import re
import shlex
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from raypeft.sweep import main

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


SWEEP = "python -m raypeft sweep "


def carry_out(kind: str, block: str) -> None:
    """Run a block of a page in this process, which is faster: only what is not raypeft's goes to a shell."""
    if kind == "python":
        exec(block, {})
        return
    for is_sweep, lines in groupby(block.splitlines(), key=lambda line: line.startswith(SWEEP)):
        if is_sweep:
            for line in lines:
                main(shlex.split(line.removeprefix(SWEEP).removesuffix(" || true")))
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(lines)], check=True)


@pytest.mark.parametrize("name", ["tutorial_own_data", "tutorial_sensitivity"])
def test_what_a_tutorial_quotes_of_files_and_dry_runs_is_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text("utf-8").split("\n## 3. ")[0]
    monkeypatch.chdir(tmp_path)
    for kind, block in BLOCK.findall(page):
        carry_out(kind, block)
    printed = capsys.readouterr()
    told = "\n".join([printed.out, printed.err, *(file.read_text("utf-8") for file in tmp_path.glob("*.yaml"))])
    lines = told.replace(f"{tmp_path}/", "").splitlines()
    quoted = re.findall(r"^```(?:text|yaml)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert quoted
    assert [line for block in quoted for line in block.splitlines() if line not in lines] == []


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
