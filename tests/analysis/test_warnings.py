"""What a reader is warned of, and that a good run gives no warning."""

import pytest

from raypeft.analysis.warnings import warnings

GOOD = {
    "id": "good", "best_eval_loss": 0.5, "last_eval_loss": 0.6, "best_step": 20, "first_eval_step": 10, "steps": 40,
    "trained_tensors": 8, "unchanged_tensors": 0, "candidates_cut": 0.02, "references_too_long": 0,
    "exact_duplicates": 0, "near_duplicates": 0, "cut_examples": 0, "train_too_long": 0, "validation_too_long": 0,
    "adapter_reload_difference": 0.003, "test_examples": 100, "decoding_path": "shared", "decoding_note": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"last_eval_loss": 10.8}, "diverged: the validation loss rose from 0.500 (step 20) to 10.800"),
        ({"best_step": 10}, "best at the first evaluation (step 10 of 40)"),
        ({"unchanged_tensors": 8}, "learned nothing: training changed no parameter"),
        (
            {"adapter_reload_difference": 0.25},
            "the saved adapter gives other logits than the trained one did, by up to 25 % of the largest",
        ),
        ({"candidates_cut": 0.354}, "35 % of the candidates reached max_new_tokens before they ended"),
        ({"references_too_long": 3}, "3 references are longer than max_new_tokens: no candidate can match them"),
        (
            {"references_lost": 4},
            "4 references are lost in the model's tokenizer, or cut where answers begin or end: no candidate can match "
            "them",
        ),
        ({"test_too_long": 5}, "5 test prompts do not fit the model's context and count as misses"),
        (
            {"decoding_path": "alone", "decoding_note": "plain: it fails"},
            "decoded by generate of Transformers itself one prompt after the other, which is slower (plain: it fails)",
        ),
        ({"exact_duplicates": 10}, "10 of 100 test instructions are also in the training split"),
        (
            {"near_duplicates": 7},
            "7 of 100 test instructions are those of a training example, or nearly (cosine of 0.95 or more)",
        ),
        ({"cut_examples": 6}, "6 test prompts have fewer shots than asked for: the model has no room for all"),
        (
            {"train_too_long": 12, "validation_too_long": 3},
            "left out, since they exceed max_length or the model's context: 12 of the train split and 3 of the",
        ),
        ({"validation_too_long": 3}, "the model's context: 3 of the validation split"),
    ],
)
def test_each_kind_of_trouble_is_said_with_the_trials_that_have_it(columns, told):
    (text,) = warnings([GOOD, GOOD | {"id": "bad"} | columns])
    assert told in text
    assert text.endswith(": bad")


def test_a_good_run_and_a_row_of_an_older_version_give_no_warning():
    assert warnings([GOOD, {"id": "old", "best_eval_loss": 0.5, "best_step": 10}]) == []


def test_trials_with_cut_answers_have_one_warning_whatever_their_shares_are():
    shares = {"a": 0.104, "b": 0.397, "c": 0.25}
    rows = [GOOD, *(GOOD | {"id": name, "candidates_cut": share} for name, share in shares.items())]
    assert warnings(rows) == ["10 to 40 % of the candidates reached max_new_tokens before they ended: b, c, a"]


def test_near_duplicates_that_are_all_exact_are_told_once():
    (text,) = warnings([GOOD | {"exact_duplicates": 4, "near_duplicates": 4}])
    assert "4 of 100 test instructions are also in the training split" in text


def test_a_training_with_a_single_evaluation_was_not_best_at_the_first():
    assert warnings([GOOD | {"steps": 10, "best_step": 10}]) == []


def test_what_all_trials_share_is_said_once():
    rows = [GOOD | {"id": id, "exact_duplicates": 2} for id in "abcd"]
    assert warnings(rows) == ["2 of 100 test instructions are also in the training split: all trials"]
    assert warnings([*rows, GOOD])[0].endswith(": a, b, c and 1 more")


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("dataset_resolved_revision", "toy->odex was loaded with different examples"),
        ("test_resolved_revision", "odex was loaded with different test examples"),
        ("model_resolved_revision", "small was loaded with different weights"),
        ("sandbox_tier", "odex was judged in sandboxes of different tiers"),
    ],
)
def test_rows_of_other_data_weights_or_sandboxes_are_told_apart(column, told):
    shared = GOOD | {"dataset": "toy", "test_dataset": "odex", "model": "small"}
    rows = [shared | {"id": name, column: value} for name, value in (("a", "x"), ("b", "y"), ("c", "x"))]
    assert warnings(rows) == [f"{told}, so that these trials cannot be compared: x (a, c); y (b)"]
    assert warnings([rows[0], rows[2], rows[1] | {column: None}]) == []
