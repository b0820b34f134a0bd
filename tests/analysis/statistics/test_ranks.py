"""Ranks over blocks, against published values."""

import json

import pytest

from raypeft.analysis.statistics.ranks import friedman

DEMSAR = {  # Demsar (2006), table 6: AUC of four variants of C4.5 on 14 datasets
    "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1.0, .940, .619, .972, .957],
    "C4.5+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1.0, .962, .666, .981, .978],
    "C4.5+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1.0, .965, .614, .9751, .946],
    "C4.5+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1.0, .962, .669, .975, .970],
}  # fmt: skip


def test_demsars_mean_ranks_and_critical_difference_are_found():
    found = friedman(DEMSAR)
    assert found.mean_ranks == pytest.approx({"C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143},
                                             abs=5e-4)  # fmt: skip
    assert found.critical_difference == pytest.approx(1.25, abs=0.01)
    assert found.blocks == 14


def test_a_lower_loss_has_the_better_rank():
    losses = {"a": [1.0, 1.1], "b": [1.2, 1.3], "c": [1.4, 1.5]}
    assert list(friedman(losses, higher_is_better=False).mean_ranks) == ["a", "b", "c"]
    assert list(friedman(losses).mean_ranks) == ["c", "b", "a"]


def test_methods_that_are_alike_are_all_tied_with_p_1():
    found = friedman({name: [1.0, 1.0] for name in "abc"})
    assert found.p_value == 1
    assert found.tied_with_best() == ["a", "b", "c"]


@pytest.mark.parametrize("values", [{"a": [1], "b": [2], "c": [3]}, {"a": [1, 2], "b": [2, 3]}, {}])
def test_too_few_methods_or_blocks_are_refused(values):
    with pytest.raises(ValueError, match="ranks need at least 3 methods with a value in each of 2 blocks"):
        friedman(values)


def test_table_3_of_the_paper_does_not_set_lora_above_ia3(reference):
    """The published EM@10 of four adapters on 18 blocks; the ranks were computed by hand."""
    rows = json.loads((reference / "paper_results.json").read_text())["table3_rq2"]
    methods = ("lora", "ia3", "prompt_tuning", "prefix_tuning")
    models = list(dict.fromkeys(row["model"] for row in rows))
    table = {(row["model"], row["method"]): row for row in rows}
    blocks = [(model, data) for model in models for data in ("conala", "codealpacapy")
              if all((model, method) in table for method in methods)]  # fmt: skip
    found = friedman({method: [table[model, method][data]["em_at_10"] for model, data in blocks] for method in methods})
    assert found.blocks == 18
    assert found.mean_ranks == pytest.approx({"lora": 1.47, "ia3": 1.89, "prompt_tuning": 2.81, "prefix_tuning": 3.83},
                                             abs=0.005)  # fmt: skip
    assert found.critical_difference == pytest.approx(1.11, abs=0.005)
    assert found.tied_with_best() == ["lora", "ia3"]
