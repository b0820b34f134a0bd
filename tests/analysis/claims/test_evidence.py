"""Which trials are compared: selectors, blocks, and who stands for a side."""

import pytest

from benchmarks.made_claims import DECLARED
from raypeft.analysis.claims.evidence import blocks, fitting, representative, rivals
from raypeft.analysis.claims.verdicts import make_evidence
from raypeft.study.trials import make_trial

LORA, ICL = {"tuning_method": "lora"}, {"tuning_method": "icl"}
EM = DECLARED.score("em_at_10", "test")


def made(*trials, **scores):
    rows = []
    for fields in trials:
        columns = {name: fields.pop(name) for name in [*fields] if name.startswith(("em_", "best_"))}
        trial = make_trial({"model": "toy", "dataset": "toy", "tuning_method": "lora", **fields})
        rows.append({"id": trial.id, **trial.fields, **columns})
    return make_evidence(rows, DECLARED, lambda row: {})


def labels(found):
    return [each.label for each in found]


def test_a_selector_may_give_several_values_and_numbers_in_any_form() -> None:
    every = made({"lora_r": 4}, {"lora_r": 8}, {"lora_r": 16}, {"learning_rate": 3e-4, "lora_r": 32}).conditions
    assert [each.fields["lora_r"] for each in fitting(every, {"lora_r": [4, 16.0]})] == [4, 16]
    assert [each.fields["lora_r"] for each in fitting(every, {"lora_r": "8"})] == [8]
    assert len(fitting(every, {"learning_rate": 0.0003})) == 4


@pytest.mark.parametrize("layers, ranks", [(["q_proj", "v_proj"], [4]), ("all-linear", [8]), (["q_proj"], []),
                                           (None, [16])])  # fmt: skip
def test_layers_to_adapt_are_one_value_although_they_are_a_list(layers, ranks) -> None:
    chosen = {4: ["q_proj", "v_proj"], 8: "all-linear", 16: None}
    every = made(*({"lora_r": rank, "target_modules": names} for rank, names in chosen.items())).conditions
    assert [each.fields["lora_r"] for each in fitting(every, {"target_modules": layers})] == ranks


@pytest.mark.parametrize("alpha, ranks", [("r", [16]), ("2r", [8]), ("0.5r", [32]), ("2 * r", [8]), (16, [8, 16, 32])])
def test_alpha_may_be_given_as_a_multiple_of_the_rank(alpha, ranks) -> None:
    every = made(*({"lora_r": rank, "lora_alpha": 16} for rank in (8, 16, 32))).conditions
    assert [each.fields["lora_r"] for each in fitting(every, {"lora_alpha": alpha})] == ranks


def test_each_model_and_dataset_is_a_block_of_its_own() -> None:
    trials = [{"dataset": data, "tuning_method": name} for data in ("toy", "toy_apps") for name in ("lora", "icl")]
    evidence = made(*trials, {"dataset": "conala"})
    assert [each.label for each in blocks(evidence, {}, [LORA, ICL])] == ["toy", "toy_apps"]
    assert [each.label for each in blocks(evidence, {"dataset": "toy"}, [LORA, ICL])] == [""]


def test_trials_that_differ_in_a_field_of_all_methods_are_not_compared() -> None:
    evidence = made({"test_limit": 10}, {"tuning_method": "icl", "test_limit": 20})
    assert blocks(evidence, {}, [LORA, ICL]) == []


def test_a_claim_of_one_method_is_not_tested_across_methods() -> None:
    evidence = made(
        {"num_shots": 4}, {"num_shots": 0}, {"tuning_method": "icl", "num_shots": 4}, {"tuning_method": "zero_shot"}
    )
    found = blocks(evidence, {}, [{"num_shots": 4}, {"num_shots": 0}])
    assert [{each.fields["tuning_method"] for each in block.conditions} for block in found] == [{"lora"}]


def test_per_adds_fields_in_which_a_block_agrees() -> None:
    evidence = made(*({"lora_r": rank, "learning_rate": rate} for rank in (4, 8) for rate in (1e-3, 1e-2)))
    found = blocks(evidence, {}, [{"lora_r": 4}, {"lora_r": 8}], ["learning_rate"])
    assert [each.label for each in found] == ["lr 0.001", "lr 0.01"]


def test_a_side_is_represented_by_its_best_on_validation_and_not_on_the_test() -> None:
    every = made({"lora_r": 4, "em_at_10": 0.9, "em_at_10_validation": 0.1},
                 {"lora_r": 8, "em_at_10": 0.1, "em_at_10_validation": 0.9}).conditions  # fmt: skip
    assert representative(every, EM).fields["lora_r"] == 8
    every = made({"lora_r": 4, "best_eval_loss": 0.1}, {"lora_r": 8, "best_eval_loss": 0.9}).conditions
    assert representative(every, EM).fields["lora_r"] == 4


def test_without_validation_a_rival_is_every_trial() -> None:
    every = made(*({"tuning_method": "icl", "num_shots": count, "em_at_10": 0.1} for count in (1, 2, 4))).conditions
    assert representative(every, EM) is None and len(rivals(every, EM)) == 3
    assert len(rivals(every[:1], EM)) == 1


def test_scores_on_different_datasets_are_never_in_one_block() -> None:
    evidence = made(
        {"test_dataset": "toy_apps"}, {"tuning_method": "icl"}, {"tuning_method": "icl", "dataset": "conala"}
    )
    assert blocks(evidence, {}, [LORA, ICL]) == []
    sides = [{"test_dataset": "toy_apps"}, {"test_dataset": "toy"}]
    assert blocks(evidence, {}, [{**LORA, **sides[0]}, {**ICL, **sides[1]}]) == []


def test_blocks_are_named_by_the_dataset_that_was_tested_on_where_it_is_another() -> None:
    trials = [{"test_dataset": data, "tuning_method": name} for data in ("toy", "odex") for name in ("lora", "icl")]
    assert [each.label for each in blocks(made(*trials), {}, [LORA, ICL])] == ["tested on odex", "tested on toy"]


def test_data_to_train_on_is_compared_by_the_scores_on_one_test_dataset() -> None:
    evidence = made({"test_dataset": "odex"}, {"dataset": "conala", "test_dataset": "odex"})
    (block,) = blocks(evidence, {"test_dataset": "odex"}, [{"dataset": "toy"}, {"dataset": "conala"}])
    assert [each.fields["dataset"] for each in block.conditions] == ["toy", "conala"]


def revisions(*more):
    """LoRA and full fine-tuning of the weights of two steps, with the same seed."""
    trials = [{"tuning_method": name, "model_revision": step, "model_path": "/weights"}
              for name in ("lora", "full") for step in ("step1000", "step2000")]  # fmt: skip
    return made(*trials, *more)


def test_weights_of_two_revisions_are_blocks_unless_the_claim_compares_them() -> None:
    full = {"tuning_method": "full"}
    found = blocks(revisions(), {}, [LORA, full])
    assert labels(found) == ["model_revision step1000", "model_revision step2000"]
    assert [len(each.conditions) for each in found] == [2, 2]
    sides = [{"model_revision": "step1000"}, {"model_revision": "step2000"}]
    assert [len(each.conditions) for each in blocks(revisions(), {}, sides)] == [2, 2]
    assert labels(blocks(revisions(), {"model_revision": "step1000"}, [LORA, full])) == [""]


def test_a_condition_of_one_revision_is_compared_with_that_one_of_others() -> None:
    """It ran once, so that its place does not tell it from another condition."""
    untuned = {"tuning_method": "zero_shot", "model_revision": "step2000", "model_path": "/weights"}
    every, sides = revisions(untuned), [LORA, {"tuning_method": "zero_shot"}]
    (block,) = blocks(every, {}, sides)
    assert {each.value("model_revision") for each in block.conditions} == {"step2000"}
    assert len(blocks(every, {"model_revision": "step2000"}, sides)) == 1
    assert blocks(every, {"model_revision": "step1000"}, sides) == []


def test_losses_of_two_revisions_choose_none_of_them() -> None:
    """The lower loss is that of the better weights, whatever is done with them."""
    every = made(*({"model_revision": step, "best_eval_loss": loss} for step, loss in (("a", 0.1), ("b", 0.2))))
    assert representative(every.conditions, EM) is None
