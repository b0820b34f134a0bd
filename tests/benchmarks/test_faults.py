"""The benchmark of faults finds what it looks for."""

from pathlib import Path

import pytest

ROW = {"id": "a", "status": "ok", "test_loss": 0.5}


@pytest.mark.parametrize(
    ("found", "broken", "told"),
    [
        ({"resumed_from_step": None}, {"a": 4}, "1 trained again more than one step"),
        ({"resumed_from_step": 2}, {"a": 4}, "1 trained again more than one step"),
        ({"resumed_from_step": 3}, {"a": 4}, "none lost, none doubled, same scores"),
        ({"resumed_from_step": None}, {}, "no training was broken off"),
        ({"resumed_from_step": 4, "test_loss": 0.6}, {"a": 4}, "1 with other scores"),
    ],
)
def test_a_training_that_began_anew_or_that_was_never_hit_is_no_success(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, object], broken: dict[str, int], told: str
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from faults import verdict

    assert verdict([ROW | found], {"a": ROW}, broken, breaks=True) == told
