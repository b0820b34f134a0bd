"""A training that is interrupted and goes on ends as an unbroken one: weights, losses, evaluations, to the bit."""

import io
import pickle
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from raypeft.data import DATASETS
from raypeft.events import Evaluated, Step
from raypeft.methods import METHODS, Full, Lora
from raypeft.methods.optimizers import OPTIMIZERS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.stopping import Stop, Stopped
from raypeft.training.loop import Training
from raypeft.training.recipe import Recipe
from raypeft.training.state import BLOCK, COST, Checkpoints, fingerprints, random_state, set_random_state
from raypeft.training.step import Passes


class Memory:
    """A place for one checkpoint."""

    def __init__(self, owner="a", is_awaited=False):
        self.data, self.written, self.owner, self.is_awaited = None, 0, owner, is_awaited

    def exists(self):
        return self.data is not None

    @contextmanager
    def reading(self):
        yield io.BytesIO(self.data)

    @contextmanager
    def writing(self):
        stream = io.BytesIO()
        yield stream
        self.data, self.written = stream.getvalue(), self.written + 1


class Killed(BaseException):
    pass


QUICK = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "eval_every_epochs": 0.5, "learning_rate": 3e-3}


def encoded(base):
    examples = DATASETS["toy"].load(None, None)["train"][:30]
    return [Encoder(base.tokenizer, base.is_encoder_decoder).encode(each) for each in examples]


def train(base, method, place=None, kill_at=None, stop_at=None, **checkpoints):
    """Train 12 steps on 24 examples; `kill_at` ends it right after that step's event. Returns weights and result."""
    prompts, pad = encoded(base), base.tokenizer.pad_token_id
    told = []

    def listener(event):
        told.append(event)
        if isinstance(event, Step) and event.step == kill_at:
            raise Killed
        if isinstance(event, Step) and event.step == stop_at:
            checkpoints["stop"].number = 15

    torch.manual_seed(5)
    with method.applied(base) as model:
        training = Training(model, prompts[:24], Recipe(method, 5, pad))
        keeper = Checkpoints(place, {"seed": "5"}, **{"minutes": 0} | checkpoints)
        result = training.run(prompts[24:28], prompts[28:], listener, keeper)
        weights = [parameter.detach().clone() for parameter in training.trainable]
        last = [each.clone() for each in training.best_weights]
    return weights, last, result, told


def interrupted(make_base, method, kill_at):
    place = Memory()
    with pytest.raises(Killed):
        train(make_base(), method, place, kill_at)
    return train(make_base(), method, place)


def measured(result):
    return [replace(each, seconds=0) for each in result.evaluations], replace(
        result, evaluations=[], train_seconds=0, eval_seconds=0, earlier_seconds=0, resumed_from_step=None
    )


def assert_same(unbroken, resumed, at):
    weights, best, result, told = unbroken
    again, best_again, result_again, told_again = resumed
    assert all(torch.equal(one, other) for one, other in zip(weights, again, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(best, best_again, strict=True))
    assert measured(result) == measured(result_again)
    assert result_again.resumed_from_step == at
    losses, losses_again = ([each for each in events if isinstance(each, Step)] for events in (told, told_again))
    assert losses_again == losses[at:]
    evaluated = [each.step for each in told_again if isinstance(each, Evaluated)]
    assert evaluated == [each.step for each in result.evaluations], "those before the interruption are told again"


@pytest.fixture(scope="module")
def llama(small_model):
    return small_model("llama")


def with_and_without_accumulation(cases):
    """Each case both ways, of which one is slow in turn: it repeats the other one's path but for the batches."""
    return [
        pytest.param(*case, accumulation, marks=() if index % 2 == accumulation % 2 else pytest.mark.slow)
        for index, case in enumerate(cases)
        for accumulation in (1, 2)
    ]


VARIANTS = [
    ("full", {}),
    ("lora", {}),
    ("lora", {"use_dora": True}),
    ("lora", {"init_lora_weights": "pissa"}),
    ("lora", {"init_lora_weights": "pissa_niter_16"}),
    ("lora", {"init_lora_weights": "olora"}),
    ("lora", {"train_sampling_strategy": "group_by_length", "loss_weighting": "token"}),
    ("ia3", {}),
    ("prompt_tuning", {}),
    ("prefix_tuning", {}),
    ("qlora_8bit", {}),
    ("qlora_4bit", {}),
]


@pytest.mark.parametrize(("name", "fields", "accumulation"), with_and_without_accumulation(VARIANTS))
def test_every_method_goes_on_to_the_weights_of_an_unbroken_training(llama, name, fields, accumulation):
    method = METHODS[name](**QUICK | fields | {"gradient_accumulation_steps": accumulation})

    def make_base():
        return load_base(llama, weights=method.base_weights)

    kill_at = 8 // accumulation
    assert_same(train(make_base(), method), interrupted(make_base, method, kill_at), kill_at - 1)


@pytest.mark.parametrize(
    ("name", "optim", "accumulation"),
    with_and_without_accumulation([(name, optim) for name in ("full", "lora") for optim in OPTIMIZERS]),
)
def test_every_optimiser_goes_on_to_the_weights_of_an_unbroken_training(llama, name, optim, accumulation):
    method = METHODS[name](**QUICK, optim=optim, gradient_accumulation_steps=accumulation, weight_decay=0.1)

    def make_base():
        return load_base(llama, weights="float32")

    assert_same(train(make_base(), method), interrupted(make_base, method, 6), 5)


def test_a_training_whose_memory_ran_out_goes_on_with_the_memory_that_it_used_last(llama, monkeypatch):
    sizes, original = [], Passes.__call__

    def call(self, batch, divisor):
        sizes.append(len(batch))
        if len(batch) > 2 and len(sizes) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, batch, divisor)

    monkeypatch.setattr(Passes, "__call__", call)
    method = Lora(**QUICK, gradient_checkpointing=False)
    unbroken = train(load_base(llama), method)
    whole = sizes.copy()
    sizes.clear()
    resumed = interrupted(lambda: load_base(llama), method, 8)
    assert_same(unbroken, resumed, 7)
    assert whole == [4] * 4 + [2] * 18
    assert sizes == whole[:14] + [2] * 10, "eight steps, and the five after the checkpoint"


def test_the_whole_matrix_would_fail_without_the_random_state(llama, monkeypatch):
    monkeypatch.setattr("raypeft.training.state.set_random_state", lambda state: None)
    method = Lora(**QUICK, lora_dropout=0.5)
    with pytest.raises(AssertionError):
        assert_same(train(load_base(llama), method), interrupted(lambda: load_base(llama), method, 6), 5)


@pytest.fixture
def stopped(llama):
    """A place with the checkpoint of step 5 of a LoRA."""
    place = Memory()
    with pytest.raises(Killed):
        train(load_base(llama), Lora(**QUICK), place, kill_at=6)
    return place


def resumed(llama, place, method=None, **checkpoints):
    said = []
    result = train(load_base(llama), method or Lora(**QUICK), place, say=said.append, **checkpoints)[2]
    return result.resumed_from_step, said


def test_a_training_says_where_it_goes_on(llama, stopped):
    assert resumed(llama, stopped) == (5, ["the training goes on from its checkpoint at step 5 of 12"])


def test_a_checkpoint_of_other_circumstances_is_left_out_with_the_reason(llama, stopped):
    stopped.data = changed(stopped.data, made_by={"seed": "5", "torch_version": "2.0"})
    assert resumed(llama, stopped) == (
        None,
        ["a checkpoint is left out: its torch_version is 2.0 where it is now None; the training starts anew"],
    )


def changed(data, **fields):
    stream = io.BytesIO()
    torch.save(torch.load(io.BytesIO(data), weights_only=True) | fields, stream)
    return stream.getvalue()


def test_a_checkpoint_of_other_shapes_or_of_other_first_weights_is_left_out(llama, stopped):
    other = Lora(**QUICK, lora_r=4)
    assert resumed(llama, stopped, other)[1] == [
        "a checkpoint is left out: its weights have other shapes; the training starts anew"
    ]
    with pytest.raises(Killed):
        train(load_base(llama), Lora(**QUICK, init_lora_weights="gaussian"), stopped, kill_at=3)
    assert "its training began with other weights" in resumed(llama, stopped)[1][0]


def test_weights_are_known_again_whatever_the_number_of_threads():
    weights = torch.randn(8, 4096, 64, generator=torch.Generator().manual_seed(0)).unbind()
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            found.append(fingerprints(weights))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_least_change_of_a_weight_and_an_exchange_of_two_are_seen(dtype):
    weight = torch.linspace(1, 2, BLOCK + 3).to(dtype)
    changed, exchanged = weight.clone(), weight.clone()
    changed[BLOCK + 1] = torch.nextafter(weight[BLOCK + 1], torch.tensor(3, dtype=dtype))
    exchanged[[0, BLOCK + 1]] = weight[[BLOCK + 1, 0]]
    assert len({*fingerprints([weight, changed, exchanged, weight.clone()])}) == 3


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"no checkpoint"])
def test_a_damaged_checkpoint_is_left_out_and_ends_nothing(llama, stopped, damage):
    stopped.data = damage(stopped.data)
    step, (said,) = resumed(llama, stopped)
    assert step is None and "it cannot be read" in said


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("code of a checkpoint was run",)


def test_a_checkpoint_runs_no_code(llama, stopped):
    stream = io.BytesIO()
    torch.save({"made_by": Bomb()}, stream)
    for stopped.data in (stream.getvalue(), pickle.dumps(Bomb())):
        step, (said,) = resumed(llama, stopped)
        assert step is None and "it cannot be read" in said


def test_a_finished_training_is_not_repeated(llama):
    place = Memory()
    first, _, result, _ = train(load_base(llama), Full(**QUICK), place)
    again, _, result_again, told = train(load_base(llama), Full(**QUICK), place)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert measured(result_again) == measured(result)
    assert not [each for each in told if isinstance(each, Step)]


def test_a_stop_saves_the_last_step_and_ends_the_training(llama):
    place, stop = Memory(), Stop()
    with pytest.raises(Stopped):
        train(load_base(llama), Lora(**QUICK), place, stop_at=4, stop=stop, minutes=60)
    assert stop.number == 15
    assert resumed(llama, place, minutes=60)[0] == 4


def test_a_stop_before_the_first_step_saves_nothing(llama):
    place, stop = Memory(), Stop()
    stop.number = 15
    with pytest.raises(Stopped):
        train(load_base(llama), Lora(**QUICK), place, stop=stop)
    assert place.written == 0


def test_a_stop_within_an_evaluation_saves_the_step_and_the_evaluation_is_made_up_for(llama, monkeypatch):
    method, place = Lora(**QUICK), Memory()
    unbroken = train(load_base(llama), method)

    def interrupt(*_):
        raise Stopped(15)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("raypeft.training.loop.evaluate", interrupt)
        train(load_base(llama), method, place, minutes=60)
    assert_same(unbroken, train(load_base(llama), method, place, minutes=60), 3)


def test_without_minutes_nothing_is_saved(llama):
    place = Memory()
    train(load_base(llama), Lora(**QUICK), place, minutes=None)
    assert place.written == 0


class Clock:
    """Time that passes only where a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def saved_at(monkeypatch):
    """`saved_at(takes, evaluated)`: the minutes at which a training of one hour, a step each minute, is saved."""
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)

    def minutes(takes, evaluated=()):
        keeper, found = Checkpoints(Memory(), {}, 5), []
        keeper.saved_at = clock.now = 0.0

        def save(training):
            found.append(clock.now / 60)
            keeper.saved_at, keeper.cost = clock.now, takes

        monkeypatch.setattr(keeper, "save", save)
        training = type("Training", (), {"result": type("Result", (), {"steps": 1})})
        for minute in range(1, 61):
            clock.now = 60.0 * minute
            keeper.after_step(training, minute in evaluated)
        return found

    return minutes


def test_a_training_is_saved_every_five_minutes_and_earlier_after_an_evaluation(saved_at):
    assert saved_at(takes=1)[:4] == [5, 10, 15, 20]
    assert saved_at(takes=1, evaluated=(2, 3, 7))[:4] == [3, 7, 12, 17]


def test_checkpoints_that_take_long_are_rarer_so_that_they_cost_no_more_than_two_percent(saved_at):
    assert saved_at(takes=12) == [5, *range(15, 61, 12 * COST // 60)]


def test_the_state_of_random_numbers_comes_back():
    state = random_state()
    drawn = torch.rand(3), np.random.rand(3)
    set_random_state(state)
    assert torch.equal(torch.rand(3), drawn[0]) and (np.random.rand(3) == drawn[1]).all()


def test_a_checkpoint_that_cannot_be_written_costs_a_word_and_no_training(llama):
    class Full(Memory):
        @contextmanager
        def writing(self):
            raise OSError("No space left on device")
            yield

    step, said = resumed(llama, Full())
    assert step is None and len(said) == 13
    assert said[0] == ("a checkpoint of step 1 cannot be written (No space left on device); the training goes on")


def test_the_end_of_a_training_that_others_wait_for_is_saved_however_short_it_was(llama):
    for is_awaited in (False, True):
        place = Memory(is_awaited=is_awaited)
        train(load_base(llama), Lora(**QUICK), place, minutes=60)
        assert place.written == is_awaited


def test_who_takes_over_a_training_says_whose_it_is_and_measures_its_own_test_split(llama):
    place = Memory("a")
    _, _, trained, _ = train(load_base(llama), Lora(**QUICK), place)
    place.owner = "b"
    _, _, taken, _ = train(load_base(llama), Lora(**QUICK), place)
    assert (trained.trained_by, taken.trained_by) == (None, "a")
    assert measured(replace(taken, trained_by=None)) == measured(trained)
    assert "test_loss" not in torch.load(io.BytesIO(place.data), weights_only=True)["result"]


def test_the_peak_memory_of_a_training_is_that_of_all_its_parts(llama, monkeypatch):
    place = Memory()
    monkeypatch.setattr("raypeft.training.state.peak_now_gb", lambda: (3.0, 4.0))
    with pytest.raises(Killed):
        train(load_base(llama), Lora(**QUICK), place, kill_at=6)
    monkeypatch.setattr("raypeft.training.state.peak_now_gb", lambda: (2.0, 4.0))
    for _ in range(2):
        assert train(load_base(llama), Lora(**QUICK), place)[2].peak_memory_gb == (3.0, 4.0)
