"""What the pages say of the repository: their files, modules, names and links exist, and the README's example plans."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml

from raypeft.__main__ import VERBS
from raypeft.analysis.settings import split_settings
from raypeft.data.declared.files import FORMATS
from raypeft.methods import METHODS
from raypeft.results.statuses import STATUSES
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep
from raypeft.sweep import main, make_parser
from raypeft.trial.declarations import own_declarations

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "results/README.md"]
PAGES += sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks/results").glob("*.md")])
TREES = ("raypeft", "tests", "benchmarks", "scripts", "sweeps")

page_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def named_paths(text: str) -> Iterator[str]:
    """Files and folders of the repository that a text names, as `raypeft/sweep.py` or `raypeft/cli/`."""
    yield from re.findall(rf"(?<![\w/.])((?:{'|'.join(TREES)})/[\w/.-]*\w(?:/(?=`))?)(?![\w*{{])", text)


def named_modules(text: str) -> Iterator[str]:
    """Dotted names below raypeft, as `raypeft.sweep` or `raypeft.metrics.metric.Score`."""
    yield from (name for name in re.findall(r"(?<![\w./])raypeft(?:\.\w+)+", text) if name != "raypeft.json")


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name at the top of one."""
    parts = dotted.split(".")
    path = ROOT.joinpath(*parts)
    if path.with_suffix(".py").is_file() or path.is_dir():
        return True
    *module, name = parts
    file = ROOT.joinpath(*module)
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    return file.is_file() and name in names_in(file)


def names_in(file: Path) -> set[str]:
    """Functions, classes, methods, fields and constants of a Python file, as `run_trial` or `Method.applied`."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt], owner: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.update({node.name, owner + node.name})
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [each.id for each in targets if isinstance(each, ast.Name)]
            found.update(names, (owner + name for name in names))

    visit(ast.parse(file.read_text("utf-8")).body, "")
    return found


@page_by_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    assert [path for path in named_paths(page.read_text("utf-8")) if not (ROOT / path).exists()] == []


@page_by_page
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    assert [dotted for dotted in named_modules(page.read_text("utf-8")) if not exists(dotted)] == []


@page_by_page
def test_every_relative_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    relative = [link.partition("#")[0] for link in links if not link.startswith(("https://", "http://", "#"))]
    assert [link for link in relative if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("tree", ["raypeft", "benchmarks", "scripts"])
def test_every_file_and_module_that_a_docstring_names_exists(tree: str) -> None:
    elsewhere = {"benchmarks/results/gpu.md", "raypeft/embeddings"}  # made later on a machine with a GPU; in a cache
    texts = [text for file in (ROOT / tree).rglob("*.py") for text in docstrings(file)]
    paths = {path for text in texts for path in named_paths(text) if not re.search("/[A-Z]+[.]", path)} - elsewhere
    modules = {dotted for text in texts for dotted in named_modules(text)}
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    assert [dotted for dotted in sorted(modules) if not exists(dotted)] == []


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in text] == []


@page_by_page
def test_every_link_to_a_section_leads_to_its_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", page.read_text("utf-8"))
    assert [link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)] == []


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def docstrings(file: Path) -> Iterator[str]:
    """The docstrings of a Python file, of its classes and functions, and below its constants and fields."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_names_in_the_architecture_page_stand_in_the_code() -> None:
    known = {name for file in (ROOT / "raypeft").rglob("*.py") for name in names_in(file)}
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    steps = text[text.index("## The path of a sweep") : text.index("## What was tried")]
    named = re.findall(r"`([A-Z]\w*(?:\.\w+)?|[a-z]+_\w+)`", steps)
    others = {"use_cache", "reuse_actors", "logits_to_keep"}  # names of Transformers and Ray
    assert len(named) > 60
    assert sorted({name for name in named if name not in known} - others) == []


def test_the_search_finds_what_is_there_and_misses_what_is_not() -> None:
    assert [*named_paths("see `raypeft/sweep.py` and [the form](raypeft/data/conala.py), not x/raypeft/no.py")] == [
        "raypeft/sweep.py",
        "raypeft/data/conala.py",
    ]
    assert exists("raypeft.metrics.metric.Score")
    assert not exists("raypeft.prompts")
    assert not exists("raypeft.metrics.metric.Skore")


def test_the_pages_and_the_help_list_the_formats_of_data_that_are_read() -> None:
    texts = [*(page.read_text("utf-8") for page in PAGES), make_parser().format_help()]
    lists = [" ".join(each.split()) for text in texts for each in re.findall(r"JSONL, JSON[\w\s,]*?Parquet", text)]
    assert len(lists) >= 5
    read = {form.strip(".").upper() for form in FORMATS if not form.endswith(".gz")}
    assert [told for told in lists if {*re.split(", | OR | AND ", told.upper())} != read] == []


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_a_page_gives_all_commands_in_one_form(page: Path) -> None:
    text = re.sub(r"docker run (?:.*\\\n)*.*", "", page.read_text("utf-8"))  # there `raypeft` is the image
    assert re.findall(rf"(?<!python -m )(?<![\w/.])raypeft (?:{'|'.join(VERBS)})\b", text) == []
    assert re.findall(r"python -m raypeft[.](?:sweep|trial)\b", text) == []


def test_every_tuning_method_is_in_the_page_on_sweeps() -> None:
    text = (ROOT / "docs/sweeps.md").read_text("utf-8")
    assert [name for name in METHODS if f"`{name}`" not in text] == []


def test_every_sweep_that_is_shipped_is_in_the_page_on_sweeps_with_its_number_of_trials() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", (ROOT / "docs/sweeps.md").read_text("utf-8"), re.MULTILINE)
    planned = {path.stem: str(plan_sweep(load_config(path)).total) for path in (ROOT / "sweeps").glob("*.yaml")}
    assert dict(rows) == planned


def test_every_sweep_of_a_study_says_what_it_asks() -> None:
    demonstrations = {"embedded", "own_data", "quickstart"}
    silent = {path.stem for path in (ROOT / "sweeps").glob("*.yaml") if not load_config(path).config.question}
    assert silent == demonstrations


def test_the_table_of_the_readme_has_the_settings_of_the_quickstart() -> None:
    table = (ROOT / "README.md").read_text("utf-8").split("<!-- quickstart table -->")[1]
    trials = plan_sweep(load_config(ROOT / "sweeps/quickstart.yaml")).trials
    shared, own = split_settings([trial.fields for trial in trials], own_declarations())
    assert f"test examples 100, {', '.join(shared)}, scores in percent" in table
    told = dict(re.findall(r"^ +(\w+) {2,}(?:([a-z].*?) {2,})?\d.*$", table, re.MULTILINE))
    assert told == {trial.fields["tuning_method"]: text for trial, text in zip(trials, own, strict=True)}


def test_every_status_is_in_the_page_on_the_results_folder() -> None:
    (line,) = re.findall(r"^\| `status`, `error` \|.*$", (ROOT / "docs/results_folder.md").read_text("utf-8"), re.M)
    assert {*re.findall(r"`(\w+)`", line)} == {"status", "error", *STATUSES}


def test_the_steps_of_the_readme_lead_from_its_data_to_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    found = re.findall(r"```(json|yaml)\n(.*?)```", text, re.DOTALL)
    blocks = {kind: dedent(block) for kind, block in found}
    row = json.loads(blocks["json"])
    rows = [{**row, "instruction": f"{row['instruction']} {number}"} for number in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (command,) = re.findall(r"python -m raypeft sweep (--new .*)", text)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    made = load_config(Path("mine.yaml"))
    (trials,) = re.findall(r"plans (\d+) trials", text)
    assert plan_sweep(made).total == int(trials)
    assert made.document.data["datasets"] == yaml.safe_load(blocks["yaml"])["datasets"]


def order_of_imports() -> dict[str, Any]:
    """The contract of import-linter that has the wings, and the imports against their order."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return next(each for each in contracts if each["type"] == "layers")


def test_the_wings_stand_in_the_order_that_the_imports_are_held_to() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8").split("## The wings")[1].split("\n## ")[0]
    told = re.findall(r"^\| `raypeft/(\w+)", page, flags=re.MULTILINE)
    assert told == order_of_imports()["layers"]


def test_every_import_against_the_order_is_told() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    modules = [name for line in order_of_imports()["ignore_imports"] for name in line.split(" -> ")]
    assert [name for name in modules if f"`{name.replace('.', '/')}.py`" not in text] == []
