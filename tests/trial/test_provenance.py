"""Which code a row comes from: the checkout gives its commit, an installed package none."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from raypeft.trial import provenance
from raypeft.trial.provenance import git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tester", "-c", "user.email=tester@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def module_in(package: Path) -> ModuleType:
    """A copy of the module that lies in another folder, as an installed package or another checkout has it."""
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "trial").mkdir()
    copy = shutil.copy(provenance.__file__, package / "trial" / "provenance.py")
    spec = importlib.util.spec_from_file_location("provenance_copy", copy)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, ModuleType]:
    module = module_in(tmp_path / "checkout" / "raypeft")
    git(tmp_path, "init", "checkout")
    git(tmp_path / "checkout", "add", ".")
    git(tmp_path / "checkout", "commit", "-m", "first")
    return tmp_path / "checkout", module


def test_a_clean_checkout_gives_its_commit(checkout: tuple[Path, ModuleType]) -> None:
    folder, module = checkout
    assert module.git_state() == (git(folder, "rev-parse", "HEAD"), False)


def test_changed_code_makes_a_checkout_dirty(checkout: tuple[Path, ModuleType]) -> None:
    folder, module = checkout
    (folder / "raypeft" / "__init__.py").write_text("changed = True\n")
    assert module.git_state() == (git(folder, "rev-parse", "HEAD"), True)


def test_files_beside_the_package_do_not_make_a_checkout_dirty(checkout: tuple[Path, ModuleType]) -> None:
    folder, module = checkout
    (folder / "notes.txt").touch()
    assert module.git_state()[1] is False


def test_an_installed_package_has_no_commit(tmp_path: Path) -> None:
    assert module_in(tmp_path / "site-packages" / "raypeft").git_state() == (None, None)


def test_a_package_installed_inside_the_users_own_repository_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "study")
    (tmp_path / "study" / "notes.txt").touch()
    git(tmp_path / "study", "add", ".")
    git(tmp_path / "study", "commit", "-m", "the user's")
    assert module_in(tmp_path / "study" / ".venv" / "raypeft").git_state() == (None, None)


def test_a_machine_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_in(tmp_path / "raypeft")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module.git_state() == (None, None)


def test_the_state_is_that_of_the_package_and_not_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_state.cache_clear()
    here = git_state()
    git_state.cache_clear()
    monkeypatch.chdir(tmp_path)
    assert git_state() == here
