"""The command `raypeft` itself: its commands, its version, and what it says of a word that is none of them."""

import pytest

from raypeft import __main__, __version__


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["raypeft", *words])
    code = __main__.main()
    return (code, *capsys.readouterr())


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(monkeypatch, capsys, "--version") == (0, f"raypeft {__version__}\n", "")


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_all_commands_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    code, out, _ = said(monkeypatch, capsys, *words)
    assert code == 0 and all(f"  {verb} " in out for verb in __main__.VERBS)


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_a_help_fits_a_terminal_and_folds_no_example(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    helps = []
    for width in ("80", "200"):
        monkeypatch.setenv("COLUMNS", width)
        with pytest.raises(SystemExit, match="0"):
            said(monkeypatch, capsys, verb, "--help")
        helps.append(capsys.readouterr().out)
    (before, _, examples), (_, _, unfolded) = (text.partition("\nexample") for text in helps)
    assert examples == unfolded
    assert [line for line in before.splitlines() if len(line) > 100] == []


def test_an_unknown_command_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = said(monkeypatch, capsys, "raport", "results/rq2")
    assert (code, out) == (2, "")
    assert "COMMAND must be one of sweep, trial" in err and "but got 'raport'; did you mean report?" in err
