"""What modules import: planning neither torch nor Ray, and nothing but the sandbox what could run a program."""

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import raypeft

PROGRAM = """
import contextlib, io, sys
import raypeft.sweep

for sweep in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()):
        assert raypeft.sweep.main([sweep, "--dry-run"]) == 0
        assert raypeft.sweep.main([sweep, "--dry-run", "--json"]) == 0
with contextlib.redirect_stdout(io.StringIO()) as help_text, contextlib.suppress(SystemExit):
    raypeft.sweep.main(["--help"])
assert "exit codes" in help_text.getvalue()
print(*sorted({"torch", "transformers", "ray", "peft", "datasets"} & set(sys.modules)))
"""


def test_planning_and_help_import_neither_torch_nor_transformers_nor_ray() -> None:
    sweeps = [str(file) for file in (Path(__file__).parent.parent / "sweeps").glob("*.yaml")]
    assert sweeps
    done = subprocess.run([sys.executable, "-c", PROGRAM, *sweeps], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


SHOWS_PROMPTS = """
import contextlib, io, sys
import raypeft.sweep

with contextlib.redirect_stdout(io.StringIO()) as told:
    assert raypeft.sweep.main(["quickstart", "--dry-run", "-v"]) == 0
assert "<|end|>" in told.getvalue(), "a tokenizer was at hand"
print(*sorted({"torch", "ray", "peft", "datasets"} & set(sys.modules)))
"""


def test_showing_prompts_imports_a_tokenizer_but_not_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWS_PROMPTS], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_table_on_the_terminal_does_not_wait_for_libraries_of_statistics_and_charts() -> None:
    program = "import sys, raypeft.cli.report; print(*sorted({'torch', 'ray', 'scipy', 'altair'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


RUNNERS = {"exec", "eval", "compile", "execfile", "__import__"}
RUNNING_MODULES = {"subprocess", "runpy", "code", "codeop", "multiprocessing", "pty"}
MAY = {"trial/provenance.py", "cli/sandbox_check.py", "gpu.py"}
"""provenance.py asks git for the commit; sandbox_check.py keeps cores busy with a loop of its own; gpu.py asks the
GPU's driver."""


def runners(tree: ast.Module) -> set[str]:
    """What in a module could run a program: names of builtins that are called, and modules that are imported."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
            found.add(node.func.id)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "os.system",
            "os.popen",
            "os.execv",
            "builtins.exec",
        ):
            found.add(ast.unparse(node.func))
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & RUNNING_MODULES
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module.split(".")[0]} & RUNNING_MODULES
    return found


def test_nothing_but_the_sandbox_can_run_a_program() -> None:
    package = Path(raypeft.__file__).parent
    outside = [path for path in package.rglob("*.py") if "sandbox" not in path.relative_to(package).parts]
    assert len(outside) >= 50
    found = {path.relative_to(package).as_posix(): runners(ast.parse(path.read_text("utf-8"))) for path in outside}
    assert {name: ways for name, ways in found.items() if ways} == {name: {"subprocess"} for name in MAY}
    inside = [runners(ast.parse(path.read_text("utf-8"))) for path in (package / "sandbox").glob("*.py")]
    assert {"compile", "subprocess"} <= set().union(*inside), "the search finds what there is"


def test_every_package_that_is_imported_is_declared_as_a_dependency_or_an_extra() -> None:
    """Otherwise an installation works only as long as another package happens to need it too."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(line for name in extras if name != "dev" for line in extras[name])]
    names = {canonicalize_name(Requirement(line).name) for line in declared}
    owners = packages_distributions()
    imported = {module for file in Path(raypeft.__file__).parent.rglob("*.py") for module in _imports(file)}
    foreign = imported - sys.stdlib_module_names - {"raypeft"}
    assert {"torch", "numpy"} <= foreign
    lacking = {each for each in foreign if not names & {canonicalize_name(owner) for owner in owners.get(each, ())}}
    assert lacking == set()


def _imports(file: Path) -> set[str]:
    nodes = [*ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    of = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in plain | of}
