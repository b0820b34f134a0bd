"""`raypeft push` asks before anything becomes public."""

import argparse

import pytest

from raypeft.cli import push as push_module
from raypeft.cli.push import main, may_be_public
from raypeft.sharing.hub import Repository

PUBLIC = [Repository("me/study", "dataset", "public")]
PRIVATE = [Repository("me/study", "dataset", "private"), Repository("me/study", "model", "missing")]


def asked(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[str]:
    """The questions at a terminal, which are answered so."""
    questions: list[str] = []

    def reply(question: str) -> str:
        questions.append(question)
        return answer

    monkeypatch.setattr("builtins.input", reply)
    monkeypatch.setattr(push_module.sys.stdin, "isatty", lambda: True, raising=False)
    return questions


def options(**given: bool) -> argparse.Namespace:
    return argparse.Namespace(**{"public": False, "yes": False, "with_text": False, **given})


@pytest.mark.parametrize(("answer", "allowed"), [("y", True), ("Yes", True), ("", False), ("n", False), ("x", False)])
def test_only_a_yes_makes_it_public(monkeypatch: pytest.MonkeyPatch, answer: str, allowed: bool) -> None:
    questions = asked(monkeypatch, answer)
    assert may_be_public(PRIVATE, options(public=True)) is allowed
    (question,) = questions
    assert "/datasets/me/study and " in question and "[y/N]" in question and "Text of datasets" not in question


def test_adding_to_what_is_public_is_asked_as_well_and_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch, "y")
    assert may_be_public(PUBLIC, options(with_text=True))
    assert "Text of datasets and generated programs are part of it." in questions[0]


def test_nothing_is_asked_for_what_stays_private(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch, "n")
    assert may_be_public(PRIVATE, options()) and may_be_public(PUBLIC, options(yes=True)) and questions == []


@pytest.mark.parametrize("place", ["hf://owner", "hf://spaces/a/b", "hf://a/b/c", "hf://a/b@v1"])
def test_a_place_on_the_hub_that_is_none_is_told(
    place: str, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--to", place]) == 2
    assert "hf://OWNER/NAME" in capsys.readouterr().err


def test_public_is_for_the_hub() -> None:
    with pytest.raises(SystemExit):
        main(["results", "--to", "folder", "--public"])
