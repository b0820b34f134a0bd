"""What the report says of how its numbers were made."""

from raypeft.analysis.report.provenance import spent


def test_the_time_of_a_training_that_several_trials_share_is_counted_once() -> None:
    trained = {"total_seconds": 100.0, "train_seconds": 60.0, "eval_seconds": 10.0, "trained_by": None}
    took_it_over = {**trained, "total_seconds": 95.0, "trained_by": "61da8be3c4"}
    assert spent(trained) + spent(took_it_over) + spent({"total_seconds": 5.0}) == 100 + 25 + 5
