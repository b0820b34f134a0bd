"""Shared results in a folder or a bucket become a results folder again, and nothing that is pulled is trusted."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shared_folders import frozen

from raypeft.analysis.report import page as page_module
from raypeft.analysis.report.study import open_study
from raypeft.cli import pull as pull_command
from raypeft.cli import push as push_command
from raypeft.results.standing import look_at
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


@pytest.fixture(autouse=True, scope="module")
def no_library() -> Iterator[None]:
    """The charts' library takes seconds to bundle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "charts_script", lambda: "")
        yield


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `results`, and `shared`, to which they were pushed."""
    folder = tmp_path_factory.mktemp("pushed")
    store = frozen(folder / "results")
    manifest = store.read_manifest()
    assert manifest is not None
    store.write_manifest(replace(manifest, left_out={}))  # a sweep that misses every file that is lost
    assert push_command.main([store.url, "--to", str(folder / "shared")]) == 0
    return folder


@pytest.fixture
def shared(pushed: Path, tmp_path: Path) -> Path:
    """A pushed folder beside its results, of the test's own."""
    shutil.copytree(pushed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "shared"


def pull(place: object, target: Path) -> int:
    return pull_command.main([str(place), "--to", str(target)])


def test_the_pulled_folder_has_each_trial_in_a_file_of_its_own_and_the_sweep_goes_on(
    shared: Path, tmp_path: Path
) -> None:
    assert pull(shared, tmp_path / "theirs") == 0
    store = ResultStore(str(tmp_path / "theirs"), tables())
    manifest = store.read_manifest()
    assert manifest is not None
    assert {info.base_name for info in store.infos("trials")} == {f"{trial}.parquet" for trial in manifest.plan}
    assert look_at(store).to_run(manifest.plan) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "nothing is left behind"


def test_ours_and_theirs_are_one_study_without_conflicts(shared: Path, tmp_path: Path) -> None:
    assert pull(shared, tmp_path / "theirs") == 0
    study = open_study([str(tmp_path / "results"), str(tmp_path / "theirs")])
    assert (len(study.rows), study.repeated, study.conflicts) == (2, 2, ())


def test_a_shared_folder_is_reported_as_it_is(shared: Path) -> None:
    study = open_study([str(shared)])
    assert study.state == "2 of 2 trials" and all(study.values(row) for row in study.scored)


@pytest.mark.parametrize("trial", ["../../outside", "a/b", "", "x" * 80, "a\0b"])
def test_an_id_that_is_no_name_of_a_file_is_refused(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trial: str
) -> None:
    table = pq.read_table(shared / "evals/all.parquet")
    hostile = table.set_column(table.column_names.index("id"), "id", pa.array([trial] * len(table)))
    pq.write_table(hostile, shared / "evals/all.parquet")
    assert pull(shared, tmp_path / "deep/er/theirs") == 2
    assert "must have ids of letters and digits" in capsys.readouterr().err
    assert list(tmp_path.rglob("outside*")) == [] and not (tmp_path / "deep/er/theirs").exists()


def test_weights_that_could_run_code_and_other_files_are_not_taken(shared: Path, tmp_path: Path) -> None:
    adapter = shared / "adapters/aaaa"
    adapter.mkdir(parents=True)
    for name in ("adapter_model.bin", "adapter_model.safetensors", "adapter_config.json", "modeling.py"):
        (adapter / name).write_text("x")
    (shared / "run.sh").write_text("x")
    assert pull(shared, tmp_path / "theirs") == 0
    taken = {path.name for path in (tmp_path / "theirs/adapters/aaaa").iterdir()}
    assert taken == {"adapter_model.safetensors", "adapter_config.json"} and not (tmp_path / "theirs/run.sh").exists()


def test_a_trial_that_has_run_again_beside_shared_results_is_pulled_once(shared: Path, tmp_path: Path) -> None:
    table = pq.read_table(shared / "trials/all.parquet")
    trial = table.column("id")[0].as_py()
    pq.write_table(table.slice(0, 1), shared / f"trials/{trial}.parquet")
    assert pull(shared, tmp_path / "theirs") == 0
    assert len(ResultStore.existing(str(tmp_path / "theirs"), tables()).read_rows()) == len(table)


def test_a_damaged_table_is_told_and_nothing_is_made(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shared / "trials/all.parquet").write_bytes(b"PAR1")
    assert pull(shared, tmp_path / "theirs") == 2
    assert "is damaged" in capsys.readouterr().err and not (tmp_path / "theirs").exists()


def test_a_folder_that_is_not_empty_is_no_target_of_a_pull(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pull(shared, tmp_path / "results") == 2
    assert "--to must be a new or empty folder" in capsys.readouterr().err


def test_what_holds_no_results_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing").mkdir()
    assert pull(tmp_path / "nothing", tmp_path / "theirs") == 2
    assert "must hold shared results but has no trials/" in capsys.readouterr().err


def test_a_push_replaces_an_earlier_one_and_nothing_else(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results")
    assert push_command.main([results, "--to", str(shared), "--with-text"]) == 0
    assert (shared / "candidates/all.parquet").is_file()
    (shared / "adapters/old").mkdir(parents=True)
    assert push_command.main([results, "--to", str(shared)]) == 0
    assert not (shared / "candidates").exists() and not (shared / "adapters").exists()
    capsys.readouterr()
    for place in (tmp_path / "results", tmp_path):
        assert push_command.main([results, "--to", str(place)]) == 2
        assert "must be a new or empty place, or one of an earlier push" in capsys.readouterr().err


@pytest.mark.slow
def test_results_are_shared_through_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.request

    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    try:
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")).close()
        place = f"s3://bucket/shared?scheme=http&endpoint_override={host}:{port}"
        for _ in range(2):
            assert push_command.main([frozen(tmp_path / "results").url, "--to", place]) == 0
        assert pull(place, tmp_path / "theirs") == 0
        assert len(open_study([place]).rows) == len(open_study([str(tmp_path / "theirs")]).rows) == 2
    finally:
        server.stop()
