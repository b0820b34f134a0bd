"""What the doctor finds, on this machine and on machines with something wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypeft.cli import doctor
from raypeft.cli.doctor import Finding, findings, main


def test_every_part_of_this_machine_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([])
    found = capsys.readouterr().out
    for what in (
        "Python",
        "packages",
        "processor",
        "GPU",
        "bitsandbytes",
        "Ray's folder",
        "sandbox",
        "hub",
        "disk for",
    ):
        assert what in found
    assert code == int("fault" in found) and "could not be looked at" not in found


def of(check: object) -> list[Finding]:
    return list(check())  # type: ignore[operator]


def test_a_long_folder_for_ray_is_a_fault_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 80)
    (found,) = of(doctor.ray)
    assert found.state == "fault" and found.to_do == "export RAY_TMPDIR=/tmp"
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert of(doctor.ray)[-1].state == "ok"


def test_a_gpu_that_raypeft_does_not_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    first, *_ = of(doctor.cards)
    assert first.found == "there is one of another maker (mps), which raypeft does not use"


def test_a_library_that_cannot_be_loaded_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    (found,) = of(doctor.quantisation)
    assert found.state == "fault" and "qlora_4bit and qlora_8bit need it" in found.to_do


def test_packages_outside_their_range_and_missing_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch<1", "no-such-package>=2", "gguf>=9; extra == 'gguf'"])
    (found,) = of(doctor.packages)
    assert found.state == "fault" and "is not <1" in found.found and "no-such-package is missing" in found.found
    assert "gguf" not in found.found


def test_a_sandbox_that_cannot_start_is_told_with_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    import raypeft.sandbox

    def refuse() -> None:
        raise raypeft.sandbox.SandboxUnavailable("no tier\nholds")

    monkeypatch.setattr(raypeft.sandbox, "Sandbox", refuse)
    (found,) = of(doctor.sandbox)
    assert (found.state, found.found) == ("fault", "no tier holds") and "apps" in found.to_do


def test_a_folder_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert of(doctor.disk)[0].state == "fault"


def test_a_check_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Finding]:
        raise RuntimeError("x")

    monkeypatch.setattr(doctor, "CHECKS", (broken, doctor.python))
    first, second = findings()
    assert (first.state, first.found) == ("fault", "could not be looked at: RuntimeError: x") and second.state == "ok"
