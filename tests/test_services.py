"""The share of a GPU that a trial asks for, and what trials share. The Tune run itself is in test_sweep.py."""

import os
import time

import pytest

from raypeft.config import Resources
from raypeft.data import DATASETS
from raypeft.retriever import LocalServices
from raypeft.services import gpu_share, ray, ray_session, trial_resources


@pytest.mark.parametrize(
    ("budget", "cards", "share"),
    [
        (24, [24.0], 1.0),
        (24, [80.0], 0.3),
        (24, [79.1], 0.304),
        (24, [80.0, 48.0], 0.5),
        (24, [80.0, 16.0], 0.3),
        (24, [16.0, 12.0], 1.0),
        (12, [24.0], 0.5),
    ],
    ids=["exact", "80 GB", "rounded up", "smallest card counts", "too small is not eligible", "none eligible", "half"],
)
def test_the_share_is_the_budget_over_the_smallest_eligible_card(budget, cards, share):
    assert gpu_share(budget, cards) == share


@pytest.mark.parametrize("budget", [7.3, 11, 24, 33.3])
@pytest.mark.parametrize("card", [15.8, 24.0, 39.4, 79.1, 139.8])
def test_as_many_trials_as_share_a_card_fit_its_memory(budget, card):
    share = gpu_share(budget, [card])
    assert share == 1.0 or int(1 / share) * budget <= card


def test_without_a_gpu_a_trial_asks_for_cpus_but_never_for_more_than_there_are(monkeypatch):
    from raypeft import services

    monkeypatch.setattr(services.ray, "cluster_resources", lambda: {"CPU": 2.0})
    assert trial_resources(Resources(cpus_per_trial=8)) == {"cpu": 2.0}
    assert trial_resources(Resources(cpus_per_trial=1)) == {"cpu": 1}


def test_with_gpus_a_trial_asks_for_its_share_of_the_smallest_eligible_one(monkeypatch):
    from raypeft import services

    monkeypatch.setattr(services.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    monkeypatch.setattr(services, "card_sizes", lambda: [80.0, 40.0])
    assert trial_resources(Resources(gpu_memory_gb=24)) == {"cpu": 1, "gpu": 0.6}


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """Two worker processes of one Ray, as two trials have them: `ask(model, k)` is the process and what it found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("RAY_ADDRESS", raising=False)
        splits = DATASETS["toy"].load(None, None)
        train, queries = splits["train"][:100], splits["test"][:10]

        class Process:
            def ask(self, model="toy", k=3):
                from raypeft.services import SERVICES

                try:
                    return os.getpid(), SERVICES.retrieve("corpus", train, model, queries, k)
                except Exception as error:
                    return os.getpid(), f"{type(error).__name__}: {error}"

        with ray_session():
            started = [ray.remote(num_cpus=0.5)(Process).remote() for _ in range(2)]
            yield started, LocalServices().retrieve("corpus", train, "toy", queries, 3)


def ask(process, *arguments):
    return ray.get(process.ask.remote(*arguments), timeout=120)


def retrievers():
    return [name for name in ray.util.list_named_actors() if name.startswith("retriever ")]


def test_two_trials_share_one_retriever_that_finds_what_a_plain_one_finds(processes):
    (one, other), plain = processes
    answers = ray.get([one.ask.remote(), other.ask.remote()], timeout=120)
    assert answers[0][0] != answers[1][0], "two processes"
    assert [found for _, found in answers] == [plain, plain]
    assert retrievers() == ["retriever corpus toy"]


def test_another_embedding_model_has_a_retriever_of_its_own(processes):
    pytest.importorskip("bm25s")
    (one, _), _ = processes
    ask(one)
    assert ask(one, "bm25")[1].revision.startswith("bm25")
    assert sorted(retrievers()) == ["retriever corpus bm25", "retriever corpus toy"]


def test_a_retriever_takes_no_cpu_from_trials(processes):
    (one, _), _ = processes
    ask(one)
    deadline = time.monotonic() + 20  # Ray tells its resources with some delay
    while ray.available_resources()["CPU"] != ray.cluster_resources()["CPU"] - 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"] - 1


def test_a_retriever_that_was_killed_is_started_again_by_whoever_asks_next(processes):
    (one, other), plain = processes
    ask(one)
    ray.kill(ray.get_actor("retriever corpus toy"))
    assert ask(other)[1] == plain
    assert retrievers().count("retriever corpus toy") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody/no-such-model",), "ValueError: embedding_model must be toy, minilm, bm25, a folder, or"),
        (("toy", 101), "ValueError: k must be from 1 to 100"),
    ],
)
def test_a_retrievers_error_reaches_the_trial_as_it_was_raised(processes, arguments, told):
    (one, _), plain = processes
    assert ask(one, *arguments)[1].startswith(told)
    assert ask(one)[1] == plain, "the next trial is served"
