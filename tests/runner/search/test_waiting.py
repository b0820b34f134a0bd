"""Trials that share a training are handed out one at a time."""

from raypeft.runner.search.waiting import Waiting
from raypeft.study.config import Trial
from raypeft.study.trials import make_trial


def trials(count: int) -> list[Trial]:
    return [make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", "seed": n}) for n in range(count)]


def test_a_trial_waits_until_another_of_its_training_has_ended_while_others_begin() -> None:
    first, second, third, fourth = trials(4)
    waiting = Waiting([first, second, third, fourth], {each.id: "shared" for each in (first, second, fourth)})
    assert [waiting.next(), waiting.next(), waiting.next()] == [first, third, None]
    assert waiting, "there are more"
    waiting.ended(third.id)
    assert waiting.next() is None
    waiting.ended(first.id)
    assert [waiting.next(), waiting.next()] == [second, None]
    waiting.ended(second.id)
    assert waiting.next() == fourth and not waiting
