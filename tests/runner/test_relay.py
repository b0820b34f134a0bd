"""Every event of a trial reaches the command's process, in order, in few reports."""

import time

import pytest
from ray import tune

from raypeft.events import Evaluated, Finished, Stage, Started, Step
from raypeft.runner.relay import Relay, events_of


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    sent: list[dict] = []
    monkeypatch.setattr(tune, "report", sent.append)
    return sent


def test_no_event_is_lost_and_fast_ones_travel_together(reports: list[dict]) -> None:
    relay = Relay()
    told = [Stage("train", 0, 500), *(Step(step, 500, 1 / step, 1e-3) for step in range(1, 501))]
    told += [Evaluated(step, 1.0, 0.5, 0.4, 1e-3, 1.0) for step in (498, 499, 500)] + [Stage("generate")]
    for event in told:
        relay.hear("a", event)
    relay.hear("a", Finished({"status": "ok", "error": None, "em_at_1": 0.5, "lora_r": 16}))
    heard = [event for report in reports for event in events_of(report)]
    assert heard[:-1] == told
    assert isinstance(heard[-1], Finished) and heard[-1].row["em_at_1"] == 0.5
    assert len(reports) < 10


def test_an_event_waits_at_most_for_the_interval(reports: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    relay = Relay()
    relay.hear("a", Step(1, 10, 0.5, 1e-3))
    assert reports == []
    now = 100.6
    relay.hear("a", Step(2, 10, 0.5, 1e-3))
    assert [len(list(events_of(report))) for report in reports] == [2]


def test_that_a_trial_started_is_not_sent_back_to_the_command_that_started_it(reports: list[dict]) -> None:
    Relay().hear("a", Started("a", {}))
    assert reports == []
