"""A store that is away is asked again, as long as that can help."""

import errno

import pytest

from raypeft.results import places
from raypeft.results.places import is_loss, persistently


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, of a clock that stands still but for them."""
    waits: list[float] = []
    monkeypatch.setattr(places.time, "sleep", waits.append)
    monkeypatch.setattr(places.time, "monotonic", lambda: sum(waits))
    return waits


def failing(times: int, error: OSError) -> list[OSError]:
    return [error] * times


def test_a_store_that_comes_back_is_written_to(slept: list[float]) -> None:
    errors = failing(4, OSError("AWS Error NETWORK_CONNECTION during PutObject"))

    def action() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert persistently(action) == "done"
    assert slept == [1, 2, 4, 8]


def test_a_store_that_stays_away_is_given_up_after_two_minutes(slept: list[float]) -> None:
    def action() -> None:
        raise OSError("connection refused")

    with pytest.raises(OSError, match="connection refused"):
        persistently(action)
    assert 90 <= sum(slept) <= 120


@pytest.mark.parametrize(
    "error", [FileNotFoundError("gone"), PermissionError("no"), OSError("AWS Error ACCESS_DENIED")]
)
def test_what_asking_again_cannot_help_is_raised_at_once(slept: list[float], error: OSError) -> None:
    def action() -> None:
        raise error

    with pytest.raises(type(error)):
        persistently(action)
    assert slept == []


def test_a_full_disk_and_a_store_that_is_away_are_losses_and_a_missing_file_is_none() -> None:
    assert is_loss(OSError(errno.ENOSPC, "No space left on device"))
    assert is_loss(OSError("AWS Error NETWORK_CONNECTION during PutObject"))
    assert not is_loss(FileNotFoundError(errno.ENOENT, "data.jsonl"))
    assert not is_loss(ValueError("wrong"))
