"""What older versions stored is read by this one: committed results, and what `scripts.freeze_results` froze."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raypeft.cli import findings, report, show, status
from raypeft.results.manifest import Manifest
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.study.checking import load_config
from raypeft.study.plan import plan_sweep
from raypeft.trial.columns import tables

FROZEN = sorted((Path(__file__).parent / "frozen").glob("*.tar.xz"))
COMMITTED = sorted(path for path in (Path(__file__).parents[2] / "results").iterdir() if path.is_dir())
PLACES = [path for path in [*FROZEN, *COMMITTED] if path.is_file() or any(path.glob("trials/*.parquet"))]

WITH_MANIFEST = [path for path in PLACES if path.is_file() or (path / "manifest.json").is_file()]

every_place = pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)


@pytest.fixture
def folder(place: Path, tmp_path: Path) -> Path:
    """A results folder: a frozen one is unpacked."""
    if place.is_dir():
        return place
    with tarfile.open(place) as archive:
        archive.extractall(tmp_path / "frozen", filter="data")
    return tmp_path / "frozen"


def printed(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code = main([*words])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


@every_place
def test_every_command_that_reads_results_reads_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ResultStore.existing(str(folder), tables()).read_rows()
    assert rows
    told = printed(report.main, capsys, str(folder), "--no-html", "--all")
    assert all(row["tuning_method"] in told for row in rows if row["status"] == "ok")
    assert printed(findings.main, capsys, str(folder))
    assert f"{len(rows)} of " in printed(status.main, capsys, str(folder))
    assert f"status: {rows[0]['status']}" in printed(show.main, capsys, str(folder), "--trial", rows[0]["id"])


@every_place
def test_no_value_of_their_rows_is_lost(folder: Path) -> None:
    read = {row["id"]: row for row in ResultStore.existing(str(folder), tables()).read_rows()}
    for file in (folder / "trials").glob("*.parquet"):
        for stored in pq.ParquetFile(file).read().to_pylist():
            there = {name: value for name, value in stored.items() if value is not None}
            assert len(there) > 40
            assert {name: read[stored["id"]][name] for name in there} == there


with_manifest = pytest.mark.parametrize("place", WITH_MANIFEST, ids=lambda place: place.name)


@with_manifest
def test_every_column_that_an_older_version_declares_has_its_name_and_kind_still(folder: Path) -> None:
    manifest = ResultStore.existing(str(folder), {}).read_manifest()
    assert manifest is not None
    for table, columns in manifest.tables.items():
        today = {each.name: each.kind for each in tables()[table]}
        assert {each.name: today.get(each.name) for each in columns} == {each.name: each.kind for each in columns}, (
            "a reader of both versions would have to know two columns"
        )


@with_manifest
def test_every_part_of_a_manifest_is_read_and_written_again(folder: Path) -> None:
    stored = json.loads((folder / "manifest.json").read_text("utf-8"))
    again = Manifest.from_plain(stored).plain()
    assert stored.keys() <= again.keys()
    assert all(again[name] == stored[name] for name in ("made_by", "sweep", "plan"))


@with_manifest
def test_the_sweep_file_in_a_manifest_plans_the_trials_that_were_planned(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/conala").mkdir(parents=True)  # planning asks only whether the folder is there
    manifest = ResultStore.existing(str(folder), {}).read_manifest()
    assert manifest is not None
    file = tmp_path / "again.yaml"
    file.write_text(manifest.sweep["text"], "utf-8")
    planned = {trial.id for trial in plan_sweep(load_config(file)).trials}
    assert planned == set(manifest.plan), "a trial's id must never change"


@pytest.mark.parametrize("place", FROZEN, ids=lambda place: place.name)
def test_trials_of_an_older_version_are_not_run_again(folder: Path) -> None:
    store = ResultStore.existing(str(folder), tables())
    manifest = store.read_manifest()
    assert manifest is not None and len(manifest.plan) == 2
    assert look_at(store).to_run(manifest.plan) == []


def test_a_folder_of_this_version_is_frozen() -> None:
    from raypeft import __version__

    assert f"{__version__}.tar.xz" in [path.name for path in FROZEN], "run `python -m scripts.freeze_results`"


def test_frozen_folders_are_small() -> None:
    assert all(path.stat().st_size < 100_000 for path in FROZEN)
