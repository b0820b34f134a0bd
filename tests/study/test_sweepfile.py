"""A sweep's YAML as data that knows its lines."""

from pathlib import Path

import pytest

from raypeft.study import sweepfile
from raypeft.study.sweepfile import ConfigError, Document, find_sweep_file, read_sweep_file

SWEEP = """\
name: study
defaults: {seed: 1}
grids:
  - model: toy
    lora_r: [8,
             16]
  - tuning_method:
      - lora
      - name: full
        learning_rate: 3e-4
"""


def read(folder: Path, text: str, *overrides: str) -> Document:
    file = folder / "study.yaml"
    file.write_text(text)
    return read_sweep_file(file, overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    return caught.value.problems


@pytest.mark.parametrize("text", ["3e-4", "3.0e-4", "3E-4", "+3e-4", "0.3e-3", "3_0e-5"])
def test_a_number_in_exponent_form_is_a_number(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"rate: {text}").data == {"rate": pytest.approx(3e-4)}


@pytest.mark.parametrize(("text", "value"), [("1E5", 1e5), ("'3e-4'", "3e-4"), ("e-4", "e-4"), ("3e-4x", "3e-4x")])
def test_only_a_bare_number_is_a_number(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"rate: {text}").data["rate"]
    assert found == value and type(found) is type(value)


def test_an_override_in_exponent_form_is_a_number_too(tmp_path: Path) -> None:
    assert read(tmp_path, SWEEP, "defaults.learning_rate=3e-4").data["defaults"]["learning_rate"] == 3e-4


def test_a_key_that_is_given_twice_is_named_with_the_second_line(tmp_path: Path) -> None:
    assert problems(tmp_path, "name: a\nseed: 1\nname: b\n") == ["line 3, name: given twice"]


def test_every_repeated_key_is_reported(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


@pytest.mark.parametrize(("text", "line"), [("name: a\nseed: 'x\n", 3), ("a: 1\n\tb: 2\n", 2), ("a: [1\nb: 2\n", 2)])
def test_broken_yaml_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"line {line}: not YAML: ")


@pytest.mark.parametrize("value", ["!shell ls", "2024-13-45"])
def test_a_value_that_yaml_cannot_make_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    (problem,) = problems(tmp_path, f"name: a\nseed: {value}\n")
    assert problem.startswith("line 2, seed: ")


@pytest.mark.parametrize("value", ["!!set {a, b}", "!!python/tuple [1, 2]", "!include [a.yaml]"])
def test_a_list_or_mapping_with_a_tag_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    (problem,) = problems(tmp_path, f"name: a\nseed: {value}\n")
    assert problem.startswith("line 2, seed: must be a plain list or mapping but has the tag ")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML"):
        read_sweep_file(tmp_path / "study.yaml")


def test_an_alias_that_holds_itself_is_refused(tmp_path: Path) -> None:
    assert "holds itself" in problems(tmp_path, "name: &a [*a]\n")[0]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("name",), 1),
        (("defaults", "seed"), 2),
        (("grids", 0), 4),
        (("grids", 0, "lora_r"), 5),
        (("grids", 0, "lora_r", 0), 5),
        (("grids", 0, "lora_r", 1), 6),
        (("grids", 1, "tuning_method", 0), 8),
        (("grids", 1, "tuning_method", 1, "learning_rate"), 10),
    ],
)
def test_a_nested_value_knows_its_line(tmp_path: Path, place: tuple[str | int, ...], line: int) -> None:
    assert read(tmp_path, SWEEP).where(place) == f"line {line}, {'.'.join(map(str, place))}"


def test_what_is_missing_is_placed_at_what_should_hold_it(tmp_path: Path) -> None:
    assert read(tmp_path, SWEEP).where(("grids", 0, "dataset")) == "line 4, grids.0.dataset"


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("name=other", ("name",), "other"),
        ("defaults.seed=7", ("defaults", "seed"), 7),
        ("defaults.limit=20", ("defaults", "limit"), 20),
        ("grids.0.lora_r=[4, 32]", ("grids", 0, "lora_r"), [4, 32]),
        ("grids.0.lora_r.1=64", ("grids", 0, "lora_r", 1), 64),
        ("grids.1.tuning_method.1.learning_rate=1e-3", ("grids", 1, "tuning_method", 1, "learning_rate"), 1e-3),
        ("resources.gpu_memory_gb=24", ("resources", "gpu_memory_gb"), 24),
        ("name=a=b", ("name",), "a=b"),
        ("defaults.seed=", ("defaults", "seed"), None),
    ],
)
def test_an_override_sets_one_value(tmp_path: Path, override: str, place: tuple[str | int, ...], value: object) -> None:
    found = read(tmp_path, SWEEP, override).data
    for part in place:
        found = found[part]
    assert found == value


def test_an_override_leaves_everything_else_alone(tmp_path: Path) -> None:
    before, after = read(tmp_path, SWEEP).data, read(tmp_path, SWEEP, "grids.0.lora_r.1=64").data
    assert after["grids"][0].pop("lora_r") == [8, 64]
    assert before["grids"][0].pop("lora_r") == [8, 16]
    assert before == after


def test_overrides_apply_in_the_order_given(tmp_path: Path) -> None:
    assert read(tmp_path, SWEEP, "defaults.seed=2", "defaults.seed=3").data["defaults"]["seed"] == 3


def test_an_overridden_value_is_placed_at_its_override(tmp_path: Path) -> None:
    document = read(tmp_path, SWEEP, "grids.0.lora_r=[4]")
    assert document.where(("grids", 0, "lora_r", 0)) == "override 'grids.0.lora_r=[4]', grids.0.lora_r.0"


def test_an_override_fills_a_mapping_that_the_file_left_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "defaults:\n", "defaults.seed=3").data == {"defaults": {"seed": 3}}


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("grids.7.model=toy", "the sweep has no grids.7"),
        ("grids.7=toy", "the sweep has no grids.7"),
        ("grids.first.model=toy", "the sweep has no grids.first"),
        ("grids.²=toy", "the sweep has no grids.²"),
        ("name.first=toy", "the sweep has no name.first"),
        ("name.first.second=toy", "the sweep has no name.first"),
        ("defaults.seed", "must be key=value"),
        ("=3", "must be key=value"),
        ("defaults.seed=[1", "the value is not YAML"),
        ("defaults.seed=2024-13-45", "'2024-13-45' is no YAML value"),
        (
            "defaults.seed=010",
            "must be a decimal number but got 010, which YAML reads as 8; write 10, or '010' in quotes for a text",
        ),
    ],
)
def test_an_impossible_override_is_refused_by_name(tmp_path: Path, override: str, complaint: str) -> None:
    assert problems(tmp_path, SWEEP, override) == [f"override {override!r}: {complaint}"]


def test_every_impossible_override_is_reported(tmp_path: Path) -> None:
    assert len(problems(tmp_path, SWEEP, "grids.7.model=toy", "defaults.seed=2", "nothing")) == 2


def test_the_report_names_the_file_and_counts_its_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, SWEEP, "a", "b")
    assert str(caught.value).splitlines()[0] == f"{tmp_path / 'study.yaml'} has 2 errors:"


@pytest.mark.parametrize(
    ("text", "read_as", "instead"),
    [("010", "8", "10"), ("-017", "-15", "-17"), ("1:30", "90", "90"), ("1:30.5", "90.5", "90.5"), ("0_7", "7", "7")],
)
def test_a_number_that_yaml_reads_in_base_8_or_60_is_refused(
    tmp_path: Path, text: str, read_as: str, instead: str
) -> None:
    (problem,) = problems(tmp_path, f"name: a\nseed: {text}\n")
    assert problem.startswith(f"line 2, seed: must be a decimal number but got {text}, which YAML reads as {read_as}; ")
    assert f"write {instead}, or " in problem


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("00", 0), ("'010'", "010"), ("0x10", 16), ("0.5", 0.5), ("1_000", 1000), ("1:30h", "1:30h")],
)
def test_other_numbers_and_texts_are_what_was_written(tmp_path: Path, text: str, value: object) -> None:
    assert read(tmp_path, f"seed: {text}").data == {"seed": value}


MERGED = """\
name: study
x-common: &common {model: toy, dataset: toy, seed: 1}
x-more: &more {seed: 2, limit: 3}
grids:
  - seed: 5
    <<: *common
  - <<: [*common, *more]
"""


def test_merge_keys_are_resolved_and_anchors_may_be_kept_at_the_top(tmp_path: Path) -> None:
    assert read(tmp_path, MERGED).data == {
        "name": "study",
        "grids": [
            {"model": "toy", "dataset": "toy", "seed": 5},
            {"model": "toy", "dataset": "toy", "seed": 1, "limit": 3},
        ],
    }


def test_a_value_knows_the_line_that_it_was_merged_from_unless_the_mapping_has_its_own(tmp_path: Path) -> None:
    document = read(tmp_path, MERGED)
    assert document.where(("grids", 0, "model")) == "line 2, grids.0.model"
    assert document.where(("grids", 0, "seed")) == "line 5, grids.0.seed"


def test_a_merge_key_that_names_no_mapping_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, "grids:\n  - <<: 3\n") == [
        "line 2, grids.0.<<: must be a mapping, or a list of mappings, whose keys are merged into this one"
    ]


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing yet\n").data is None


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["own.yaml", "own", "sub/own.yaml"])
def test_a_sweep_file_is_found_here(here: Path, name: str) -> None:
    (here / "sub").mkdir()
    file = here / (name if name.endswith(".yaml") else f"{name}.yaml")
    file.touch()
    assert find_sweep_file(name).resolve() == file


@pytest.mark.parametrize("name", ["own.yaml", "own", "own.yml"])
def test_a_bare_name_is_found_in_sweeps(here: Path, name: str) -> None:
    (here / "sweeps").mkdir()
    file = here / "sweeps" / (name if "." in name else f"{name}.yaml")
    file.touch()
    assert find_sweep_file(name).resolve() == file


def test_a_file_here_comes_before_one_in_sweeps(here: Path) -> None:
    (here / "sweeps").mkdir()
    for file in ("own.yaml", "sweeps/own.yaml"):
        (here / file).touch()
    assert find_sweep_file("own").resolve() == here / "own.yaml"


def test_a_shipped_sweep_is_found_from_anywhere(here: Path) -> None:
    assert find_sweep_file("quickstart").is_file()


def test_an_installed_package_finds_its_own_sweeps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = here / "site-packages" / "raypeft"
    (package / "sweeps").mkdir(parents=True)
    (package / "sweeps" / "quickstart.yaml").touch()
    monkeypatch.setattr(sweepfile, "__file__", str(package / "study" / "sweepfile.py"))
    assert find_sweep_file("quickstart") == package / "sweeps" / "quickstart.yaml"


def test_a_missing_file_is_refused_with_the_places_and_the_shipped_sweeps(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file here or in sweeps/.*quickstart\.yaml"):
        find_sweep_file("nowhere")


def test_a_folder_is_no_sweep_file(here: Path) -> None:
    (here / "own").mkdir()
    with pytest.raises(ConfigError, match="no such file"):
        find_sweep_file("own")
