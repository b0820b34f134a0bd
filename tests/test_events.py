"""Events travel between processes as plain data and come out as they went in."""

import json

import pytest

from raypeft.events import KINDS, Evaluated, Finished, Noted, Stage, Started, Step, from_plain, to_plain

EVENTS = [
    Started("lora r 16", {"lora_r": 16}),
    Stage("train", 3, 10),
    Step(3, 10, 0.5, 1e-3),
    Evaluated(3, 0.3, 0.6, 0.7, 1e-3, 12.5),
    Noted("a checkpoint is left out"),
    Finished({"status": "ok", "em_at_1": 0.25}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_made_plain_and_sent_as_json_is_the_same_event(event) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(event)))) == event


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event in EVENTS} == set(KINDS.values())
