"""Which trials train alike: those that differ only in what is asked once the training has ended."""

from raypeft.methods import Lora
from raypeft.study.config import Trial
from raypeft.study.trainings import AFTER_TRAINING, shared_trainings, training_id
from raypeft.study.trials import make_trial

MIX = '{"mix": [{"name": "toy"}, {"name": "toy_apps"}]}'


def trial(**fields: object) -> Trial:
    return make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields})


def ids(*trials: Trial) -> int:
    return len({training_id(each) for each in trials})


def test_what_is_tested_and_how_answers_are_decoded_makes_no_other_training() -> None:
    parts = [trial(dataset="both", declared=MIX, test_dataset=name) for name in ("toy", "toy_apps")]
    assert ids(*parts) == 1
    decoded = [trial(num_beams=12), trial(do_sample=True, num_beams=1, temperature=0.5, top_p=0.9), trial(test_limit=3),
               trial(validation_limit=3), trial(decode=False), trial(test_dataset="toy_apps")]  # fmt: skip
    assert ids(trial(), *decoded) == 1
    assert set(AFTER_TRAINING) < set(Trial.model_fields) | set(Lora.model_fields)


def test_training_prompts_have_no_shots_so_that_they_make_no_other_training() -> None:
    drawn = {"num_shots": 4, "icl_sampling": "per_example"}
    found = {"num_shots": 4, "shot_source": "retrieved", "on_overflow": "error", "shot_order": "nearest_last"}
    shots = [trial(**drawn), trial(**drawn, icl_seed=1), trial(**found), trial(**found, embedding_model="toy"),
             trial(**found, reranker="a", rerank_candidates=9), trial(**found, embedding_revision="1")]  # fmt: skip
    assert ids(trial(), *shots) == 1


def test_all_else_makes_another_training() -> None:
    others = [trial(seed=1), trial(lora_r=4), trial(limit=5), trial(prompt_form="fenced"), trial(max_length=99),
              trial(dataset="both", declared=MIX, test_dataset="toy"), trial(tuning_method="ia3")]  # fmt: skip
    assert ids(trial(), *others) == 8


def test_a_training_without_the_examples_that_the_test_was_made_from_is_another_one() -> None:
    conala = [trial(dataset="conala", test_dataset=name) for name in ("conala", "odex", "mbpp")]
    assert training_id(conala[0]) == training_id(conala[2]) != training_id(conala[1])


def test_a_training_of_a_single_trial_and_a_trial_without_a_training_share_nothing() -> None:
    both = [trial(), trial(num_beams=12)]
    untrained = [trial(tuning_method="zero_shot"), trial(tuning_method="zero_shot", num_beams=12)]
    shared = shared_trainings([*both, *untrained, trial(seed=1)])
    assert shared == {each.id: training_id(both[0]) for each in both}
