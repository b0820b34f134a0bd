"""The wheel: what is in it, and that raypeft works from it alone, in a folder without a checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
"""The environment of the commands: nothing in it leads to the checkout."""


def run(words: list[str], folder: Path, **more: str) -> str:
    """What a command prints on stdout. It must end with exit code 0."""
    done = subprocess.run(words, cwd=folder, env={**HERE, **more}, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (made,) = folder.glob("raypeft-*.whl")
    return made


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def tracked(*folders: str) -> set[str]:
    """The files of the checkout below these folders, but for caches."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return {str(path.relative_to(ROOT)) for path in found if path.is_file() and "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_its_data_the_sweeps_and_the_pages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = tracked("raypeft") | {f"raypeft/{name}" for name in tracked("sweeps", "docs")}
    assert names == expected
    needed = {"data/toy_model/model.safetensors", "sweeps/quickstart.yaml", "sweeps/own_data.jsonl", "docs/sandbox.md",
              "analysis/report/web/page.html", "analysis/report/paper.json"}  # fmt: skip
    assert {f"raypeft/{name}" for name in needed} <= names


def test_the_wheel_says_its_version_its_license_and_its_command(unpacked: Path) -> None:
    (info,) = unpacked.glob("raypeft-*.dist-info")
    metadata = (info / "METADATA").read_text("utf-8")
    version = run([sys.executable, "-m", "raypeft", "--version"], unpacked, PYTHONPATH=str(unpacked)).split()[1]
    assert f"\nVersion: {version}\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "raypeft = raypeft.__main__:main" in (info / "entry_points.txt").read_text("utf-8")


def test_a_shipped_sweep_is_planned_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "raypeft", "sweep", "quickstart", "--dry-run"]
    assert "zero_shot" in run(words, tmp_path, PYTHONPATH=str(unpacked))


def test_a_page_that_a_message_names_is_inside(unpacked: Path, tmp_path: Path) -> None:
    program = "from raypeft.mistakes import page; print(page('sweeps.md'))"
    told = run([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(unpacked)).strip()
    assert Path(told) == unpacked / "raypeft/docs/sweeps.md" and Path(told).is_file()


@pytest.mark.slow
def test_an_installed_wheel_runs_the_first_trial_of_the_quickstart(wheel: Path, tmp_path: Path) -> None:
    venv, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)], tmp_path)
    # The libraries are those of the tests' environment, so that nothing is downloaded.
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [
        "-m",
        "pip",
        "--python",
        str(venv),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
    ]
    run([sys.executable, *install, str(wheel)], tmp_path)
    where = run([str(venv / "bin/python"), "-c", "import raypeft; print(raypeft.__file__)"], empty)
    assert where.strip() == str(packages / "raypeft/__init__.py")

    raypeft = str(venv / "bin/raypeft")
    assert run([raypeft, "--version"], empty).startswith("raypeft ")
    assert "zero_shot" in run([raypeft, "sweep", "quickstart", "--dry-run"], empty)
    (empty / "data.jsonl").write_bytes((packages / "raypeft/sweeps/own_data.jsonl").read_bytes())
    run([raypeft, "sweep", "--new", "mine.yaml", "--data", "data.jsonl", "--model", "toy"], empty)
    assert "13 trials" in run([raypeft, "sweep", "mine.yaml", "--dry-run"], empty)
    assert "\nok: " in run([raypeft, "trial", "quickstart", "--index", "0", "--limit", "4"], empty)
    assert "report: " in run([raypeft, "report", "results/quickstart"], empty)
    assert (empty / "results/quickstart/report.html").stat().st_size > 10_000
