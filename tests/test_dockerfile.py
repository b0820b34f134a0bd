"""The Dockerfile, as far as it can be checked without building it: its syntax, and that what it names is there."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import dockerfile
import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"}


@pytest.fixture(scope="module")
def commands() -> tuple[dockerfile.Command, ...]:
    return dockerfile.parse_file(str(ROOT / "Dockerfile"))


def copied(commands: tuple[dockerfile.Command, ...], stage: str = "") -> list[str]:
    """What COPY takes: from the checkout, or from a stage."""
    flags = (f"--from={stage}",) if stage else ()
    return [name for each in commands if each.cmd == "COPY" and each.flags == flags for name in each.value[:-1]]


def is_sent(name: str) -> bool:
    """Whether `.dockerignore` lets a name at the top of the checkout into the build: the last fitting line decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line and not line.startswith("#") and fnmatch(name, line.lstrip("!")):
            sent = line.startswith("!")
    return sent


def test_every_instruction_is_known_and_every_stage_is_there(commands: tuple[dockerfile.Command, ...]) -> None:
    assert {each.cmd for each in commands} <= KNOWN
    stages = {each.value[-1] for each in commands if each.cmd == "FROM" and "AS" in each.value}
    named = {flag.removeprefix("--from=") for each in commands if each.cmd == "COPY" for flag in each.flags}
    assert named == stages == {"wheel"}


def test_what_is_copied_exists_and_is_sent_to_the_build(commands: tuple[dockerfile.Command, ...]) -> None:
    names = copied(commands)
    assert [name for name in names if not (ROOT / name).exists() or not is_sent(name)] == []
    build = PROJECT["license-files"] + [PROJECT["readme"], "pyproject.toml", "raypeft", "sweeps", "docs"]
    assert set(build) <= set(names), "the wheel is built from these"


def test_nothing_else_is_sent_to_the_build() -> None:
    assert not any(is_sent(name) for name in (".git", "results", "models", "datasets", ".venv", ".env", "tests"))


def test_its_python_and_its_extras_are_those_of_the_project(commands: tuple[dockerfile.Command, ...]) -> None:
    (python,) = (each.value[0].partition("=")[2] for each in commands if each.value[0].startswith("PYTHON="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    (install,) = (each.value[0] for each in commands if "raypeft-*.whl" in each.value[0])
    extras = re.findall(r"whl\)\[([\w,]+)\]", install)
    assert set(extras[0].split(",")) <= PROJECT["optional-dependencies"].keys()


def test_the_container_is_not_run_as_root_and_its_command_is_raypeft(commands: tuple[dockerfile.Command, ...]) -> None:
    last = {each.cmd: each.value for each in commands}
    assert last["USER"] == ("raypeft",) and last["ENTRYPOINT"] == ("raypeft",)


def test_the_constraints_leave_the_versions_of_aws_packages_to_s3fs() -> None:
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()}
    assert not pinned & {"boto3", "botocore", "s3transfer"}, "s3fs takes a few versions of botocore, and not the newest"
