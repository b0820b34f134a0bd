"""What a trial has decoded and tested before it was interrupted is not decoded and tested again."""

import json
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from raypeft.decoding.search import Decoder
from raypeft.events import Noted
from raypeft.models.loading import BaseCache
from raypeft.records import Candidate, Example, Prompt
from raypeft.results.store import ResultStore
from raypeft.sandbox import RunResult, SandboxSettings
from raypeft.sandbox.records import TestResult
from raypeft.stopping import Stopped
from raypeft.study.options import Resources
from raypeft.study.trials import make_trial
from raypeft.trial.columns import tables
from raypeft.trial.context import TrialContext
from raypeft.trial.parts import Parts, Verdicts
from raypeft.trial.run import run_and_record
from raypeft.trial.tests import CandidateTests

QUICK = {"model": "toy", "dataset": "toy", "limit": 9, "max_new_tokens": 8, "num_return_sequences": 2}
BEAMS = QUICK | {"num_beams": 3}
SAMPLES = QUICK | {"num_beams": 1, "do_sample": True, "temperature": 0.9, "top_p": 0.9}
LORA = {"tuning_method": "lora", "num_train_epochs": 1, "learning_rate": 3e-3}


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "results"), tables())


@pytest.fixture(scope="module")
def bases():
    return BaseCache()


@pytest.fixture
def batches(monkeypatch):
    """The example ids of each batch that is searched, but for those of the self-check."""
    seen, real = [], Decoder.find

    def find(decoder, prompts, *rest):
        if not prompts[0].example.id.startswith("check"):
            seen.append([prompt.example.id for prompt in prompts])
        return real(decoder, prompts, *rest)

    monkeypatch.setattr(Decoder, "find", find)
    return seen


def run(fields, store, bases, stop_after=None, batch_size=2):
    """The trial's row and what it noted; with `stop_after` it is stopped once so many parts are stored."""
    context = TrialContext(make_trial(fields), "s", store, bases, resources=Resources(generation_batch_size=batch_size))
    heard, parts, real = [], [], Parts.add

    def add(self, rows):
        real(self, rows)
        parts.append(rows)
        if len(parts) == stop_after:
            context.stop.number = 15

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "add", add)
        row = run_and_record(replace(context, listener=heard.append))
    return row, [event.text for event in heard if isinstance(event, Noted)]


def candidates(store):
    return sorted(store.read_rows("candidates"), key=lambda row: (row["example_id"], row["rank"]))


@pytest.mark.parametrize(
    "fields", [BEAMS | {"tuning_method": "icl"}, SAMPLES | {"tuning_method": "zero_shot"}, SAMPLES | LORA]
)
def test_a_stopped_trial_decodes_only_what_is_missing_and_finds_the_candidates_of_an_unbroken_one(
    fields, store, tmp_path, bases, batches
):
    unbroken = ResultStore(str(tmp_path / "unbroken"), tables())
    assert run(fields, unbroken, bases)[0]["status"] == "ok"
    whole = batches.copy()
    batches.clear()
    with pytest.raises(Stopped):
        run(fields, store, bases, stop_after=2)
    assert store.read_rows() == store.read_rows("candidates") == []
    assert batches == whole[:2]
    row, noted = run(fields, store, bases)
    assert row["status"] == "ok", row["error"]
    assert noted == ["the candidates for 4 of 9 examples are there from before"]
    assert batches == whole
    assert candidates(store) == candidates(unbroken), "log-probabilities too"
    assert not store.exists("candidates.partial/" + row["id"]) and not store.exists("checkpoints/" + row["id"])


def test_the_time_and_the_memory_of_decoding_are_those_of_all_batches(store, bases):
    fields = BEAMS | {"tuning_method": "zero_shot"}
    with pytest.raises(Stopped):
        run(fields, store, bases, stop_after=2)
    name = f"checkpoints/{make_trial(fields).id}/decoding.json"
    with store.reading(name) as stream:
        noted = json.loads(stream.read())
    assert noted["spent"]["seconds"] > 0
    noted["spent"] = {"seconds": 1000.0, "peak_memory_gb": [7.0, 8.0]}
    with store.writing(name) as stream:
        stream.write(json.dumps(noted).encode())
    row, _ = run(fields, store, bases)
    assert 1000 < row["generate_seconds"] < row["total_seconds"]
    assert row["generate_examples_per_second"] == pytest.approx(9 / row["generate_seconds"])
    assert row["generate_peak_memory_reserved_gb"] == row["peak_memory_reserved_gb"] == 8.0


@pytest.mark.parametrize("error", [Stopped(15), RuntimeError("a fault in a metric")])
def test_a_trial_that_ends_after_decoding_without_a_result_does_not_decode_again(store, bases, batches, error):
    fields = BEAMS | {"tuning_method": "zero_shot"}

    def fails(*_):
        raise error

    with pytest.MonkeyPatch.context() as patch, suppress(Stopped):
        patch.setattr("raypeft.trial.run.record_scores", fails)
        assert run(fields, store, bases)[0]["status"] == "failed"
    store.set_aside(make_trial(fields).id)  # as the next attempt does
    assert batches
    batches.clear()
    row, noted = run(fields, store, bases)
    assert (row["status"], noted) == ("ok", ["the candidates for 9 of 9 examples are there from before"])
    assert batches == []
    assert len(candidates(store)) == 18
    assert not store.exists("candidates.partial/" + row["id"])


def test_batches_of_an_interrupted_trial_that_were_halved_stay_so(store, bases, batches):
    fields = BEAMS | {"tuning_method": "zero_shot"}
    with pytest.raises(Stopped):
        run(fields, store, bases, stop_after=1, batch_size=3)
    # As if memory had not been enough for the second batch, and the half of it had been stored.
    part = store.read_parts("candidates", make_trial(fields).id)[0]
    store.write_part("candidates", make_trial(fields).id, 0, part[:2])
    batches.clear()
    row, _ = run(fields, store, bases, batch_size=3)
    assert [len(batch) for batch in batches] == [1] * 8
    assert row["generation_batch_size"] == 1


@pytest.mark.parametrize("damage", ["search", "rows", "note", "older note", "file"])
def test_parts_of_other_circumstances_are_set_aside_and_decoded_again(store, bases, batches, damage):
    fields = BEAMS | {"tuning_method": "zero_shot"}
    with pytest.raises(Stopped):
        run(fields, store, bases, stop_after=2)
    trial_id, batch_size = make_trial(fields).id, 2
    if damage == "search":
        batch_size = 3
    elif damage == "rows":
        store.write_part("candidates", trial_id, 0, store.read_parts("candidates", trial_id)[1])
    elif damage == "note":
        with store.writing(f"checkpoints/{trial_id}/decoding.json") as stream:
            stream.write(b"{")
    elif damage == "older note":
        with store.writing(f"checkpoints/{trial_id}/decoding.json") as stream:
            stream.write(b'{"seed": "1"}')
    else:
        with store.writing(f"candidates.partial/{trial_id}/00001.parquet") as stream:
            stream.write(b"PAR1")
    batches.clear()
    row, noted = run(fields, store, bases, batch_size=batch_size)
    assert (row["status"], noted) == ("ok", [])
    assert len({example for batch in batches for example in batch}) == 9
    assert len(list(store.names("superseded"))) == 1


def test_examples_without_room_are_stored_and_taken_up_as_well(store, monkeypatch):
    persisted, real = [], ResultStore.put
    monkeypatch.setattr(
        ResultStore, "put", lambda self, name, content: persisted.append(name) or real(self, name, content)
    )
    prompts = [Prompt(Example(str(n), "a", "b"), [5], [7]) for n in range(3)]
    found = [[Candidate(prompt.example.id, rank, "x", 3, "eos", -1.5) for rank in range(2)] for prompt in prompts]
    parts = Parts(store, "a", {"seed": "1"})
    assert parts.load(prompts, 2) == []
    blank = dict.fromkeys(store.schemas["candidates"].names)
    for batch in (found[:2], found[2:]):
        parts.add(
            [blank | {name: getattr(each, name) for name in Candidate.__slots__} for row in batch for each in row]
        )
    assert Parts(store, "a", {"seed": "1"}).load(prompts, 2) == [found[:2], found[2:]]
    assert persisted.count("checkpoints/a/decoding.json") == 3, "a store that is away is waited for"
    assert Parts(store, "a", {"seed": "2"}).load(prompts, 2) == []


class Judge:
    """Services that judge at once, and count."""

    def __init__(self, die_at=None):
        self.programs, self.die_at = [], die_at

    def judge(self, program, tests, settings):
        self.programs.append(program)
        future = Future()
        if len(self.programs) != self.die_at:
            future.set_result(RunResult([TestResult("passed", True)], {"tier": "A"}))
        return future


PROBLEMS = [Example(str(n), "a", "b", tests="{}") for n in range(4)]


def answers(n):
    return [Candidate(str(n), rank, f"print({n + rank})", 1, "eos") for rank in range(2)]


@contextmanager
def entered(store, judge):
    verdicts = Verdicts(store, "a", SandboxSettings())
    with CandidateTests(judge, SandboxSettings(), verdicts=verdicts) as tests:
        yield tests


def test_a_trial_that_was_stopped_while_tests_ran_keeps_the_verdicts_that_had_come(store):
    judge = Judge(die_at=6)  # the first is the probe
    with pytest.raises(Stopped), entered(store, judge) as tests:
        for n, problem in enumerate(PROBLEMS):
            tests.begin(problem, answers(n))
        tests.stop.number = 15
        tests.collect("a")
    assert len(judge.programs) == 9
    again = Judge()
    with entered(store, again) as tests:
        for n, problem in enumerate(PROBLEMS):
            tests.begin(problem, answers(n))
        rows = tests.collect("a")
    assert again.programs[1:] == ["print(3)", "print(3)", "print(4)"], "print(1) and print(2) had come twice"
    assert [(row["example_id"], row["rank"], row["passed"]) for row in rows] == [
        (str(n), rank, True) for n in range(4) for rank in range(2)
    ]
    assert tests.columns["sandbox_tier"] == "A"


def test_a_fault_after_the_tests_keeps_their_verdicts(store):
    with pytest.raises(ValueError, match="in a metric"), entered(store, Judge()) as tests:
        tests.begin(PROBLEMS[0], answers(0))
        tests.collect("a")
        raise ValueError("in a metric")
    assert Verdicts(store, "a", SandboxSettings()).known("print(0)", "{}") is not None


def test_a_program_that_comes_again_later_does_not_hide_that_the_first_one_was_run(store):
    verdicts = Verdicts(store, "a", SandboxSettings())
    for is_cached in (False, True):
        verdicts.add("print(1)", "{}", RunResult([TestResult("passed", True)], cached=is_cached))
        verdicts.store_waiting()
    found = Verdicts(store, "a", SandboxSettings())
    assert [found.known("print(1)", "{}").cached for _ in range(2)] == [False, True]


def test_verdicts_under_other_limits_are_not_used(store):
    verdicts = Verdicts(store, "a", SandboxSettings())
    verdicts.add("print(1)", "{}", RunResult([TestResult("passed", True)]))
    verdicts.store_waiting()
    assert Verdicts(store, "a", SandboxSettings()).known("print(1)", "{}") == RunResult([TestResult("passed", True)])
    assert Verdicts(store, "a", SandboxSettings(stop="first_fail")).known("print(1)", "{}") is None
    assert Verdicts(store, "b", SandboxSettings()).known("print(1)", "{}") is None


def test_verdicts_are_stored_every_few_seconds_and_not_one_by_one(store, monkeypatch):
    verdicts = Verdicts(store, "a", SandboxSettings())
    for n in range(100):
        verdicts.add(f"print({n})", "{}", RunResult([TestResult("passed", True)]))
    assert store.names("checkpoints/a/tests") == []
    monkeypatch.setattr("raypeft.trial.parts.EVERY", 0)
    verdicts.add("print(100)", "{}", RunResult([TestResult("passed", True)]))
    assert store.names("checkpoints/a/tests") == ["checkpoints/a/tests/00000.json"]
    assert Verdicts(store, "a", SandboxSettings()).known("print(99)", "{}")
