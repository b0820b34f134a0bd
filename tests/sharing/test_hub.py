"""Results are pushed to a hub, read there and pulled, by the hub's own library and against a hub on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from local_hub import LOCKED, LocalHub, Repo
from shared_folders import TOKEN, Said, frozen, has_planted, planted, run

from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables


@dataclass
class Session:
    """A hub, and what commands said that used it one after the other."""

    hub: LocalHub
    folder: Path
    said: dict[str, Said]

    @property
    def commits(self) -> list[tuple[bool, dict[str, bytes]]]:
        return self.hub.repos["datasets/me/study"].commits

    @property
    def first(self) -> dict[str, bytes]:
        """The files after the first push."""
        return self.commits[0][1]


PUSH = ["push", "results", "--to", "hf://me/study"]
COMMANDS = {
    "push": PUSH,
    "report": ["report", "hf://me/study", "--no-html"],
    "findings": ["findings", "hf://me/study"],
    "pull": ["pull", "hf://me/study", "--to", "theirs"],
    "unasked": [*PUSH, "--public"],
    "missing": ["report", "hf://me/nothing"],
    "foreign": ["push", "results", "--to", "hf://me/foreign"],
    "locked": ["push", "results", "--to", f"hf://{LOCKED}/study"],
    "sweep": ["sweep", "quickstart", "--results", "hf://me"],
    "text": [*PUSH, "--with-text"],
    "public": [*PUSH, "--public", "--yes"],
    "into public": PUSH,
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("hub")
    planted(folder / "results")
    with LocalHub(TOKEN) as hub:
        hub.repos["datasets/me/foreign"] = Repo(True, {"README.md": b"mine", "data.csv": b"1"})
        said = run(hub, folder, *COMMANDS.values(), HF_HUB_DISABLE_XET="1")
        yield Session(hub, folder, dict(zip(COMMANDS, said, strict=True)))


def test_results_are_pushed_as_a_private_dataset_with_a_card_and_a_report(session: Session) -> None:
    said = session.said["push"]
    assert (said.code, said.err) == (0, "") and f"{session.hub.url}/datasets/me/study (private)" in said.out
    assert session.commits[0][0] and "models/me/study" not in session.hub.repos
    assert set(session.first) == {"README.md", "manifest.json", "report.html", "trials/all.parquet",
                                  "evals/all.parquet", "example_scores/all.parquet"}  # fmt: skip


def test_no_token_password_home_folder_or_host_is_in_what_was_pushed(session: Session, tmp_path: Path) -> None:
    assert {name: has_planted(content) for name, content in session.first.items() if has_planted(content)} == {}
    (tmp_path / "all.parquet").write_bytes(session.first["trials/all.parquet"])
    for row in pq.read_table(tmp_path / "all.parquet").to_pylist():
        assert has_planted(repr(row).encode()) == []
        assert (row["dataset_path"], row["model_path"]) == ("s3://***@bucket/data", "~/models/toy")


def test_text_of_datasets_stays_unless_it_is_asked_for(session: Session, tmp_path: Path) -> None:
    instruction = frozen(tmp_path).read_rows("candidates")[0]["instruction"].encode()
    assert not any(instruction in content for content in session.first.values())
    assert "candidates stay here" in session.said["push"].out and "stay here" not in session.said["text"].out
    with_text, without = session.commits[1][1], session.commits[2][1]
    assert with_text.keys() - session.first.keys() == {"candidates/all.parquet"}
    assert "candidates/all.parquet" not in without, "a later push without takes it away"


def test_reports_and_findings_are_read_from_the_hub(session: Session) -> None:
    report, findings = session.said["report"], session.said["findings"]
    assert (report.code, report.err) == (0, "") and "zero_shot" in report.out and "lora" in report.out
    assert (findings.code, findings.err) == (0, "") and "lora r 4" in findings.out and "CodeBLEU" in findings.out


def test_pulled_results_are_a_results_folder_with_the_same_rows(session: Session) -> None:
    assert session.said["pull"].out == "theirs has the rows of hf://me/study: 2 trials, 0 of them with an adapter\n"
    theirs = ResultStore.existing(str(session.folder / "theirs"), tables())
    ours = {row["id"]: row for row in ResultStore.existing(str(session.folder / "results"), tables()).read_rows()}
    assert len(theirs.infos("trials")) == 2 and theirs.read_manifest() is not None
    for row in theirs.read_rows():
        changed = {name for name in row if row[name] != ours[row["id"]][name]}
        assert changed == {"host", "dataset_path", "model_path", "model_notes"}
        assert theirs.read_rows("example_scores", row["id"])


def test_nothing_is_made_public_unasked_where_there_is_no_terminal(session: Session) -> None:
    for name in ("unasked", "into public"):
        said = session.said[name]
        assert said.code == 2 and "would be public, and there is no terminal to ask at: --yes" in said.err
    assert session.said["public"].code == 0 and "(public)" in session.said["public"].out
    assert [private for private, _ in session.commits] == [True, True, True], "its files arrive before all can read it"
    assert not session.hub.repos["datasets/me/study"].private


def test_a_repository_that_holds_other_things_is_left_alone(session: Session) -> None:
    said = session.said["foreign"]
    assert said.code == 2 and "must be new or hold results that were pushed before" in said.err
    assert session.hub.files("datasets/me/foreign") == {"README.md": b"mine", "data.csv": b"1"}


def test_what_is_not_on_the_hub_is_told_with_a_way_out(session: Session) -> None:
    said = session.said["missing"]
    assert said.code == 2 and "holds no trials/; a private one is read with a token" in said.err


def test_a_sweep_cannot_write_to_the_hub_as_it_runs(session: Session) -> None:
    said = session.said["sweep"]
    assert said.code == 2 and "can only be read; raypeft push writes such a place" in said.err


def test_a_place_where_the_token_may_not_write_is_told(session: Session) -> None:
    said = session.said["locked"]
    assert said.code == 2 and "the hub refused: " in said.err and "hf auth login" in said.err
