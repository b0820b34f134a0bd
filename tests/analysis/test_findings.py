"""The tables of findings, as the command prints them."""

from itertools import product

import pytest
from result_folders import add, rows_of

from raypeft.analysis.findings import over_seeds_table
from raypeft.cli.findings import main
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables
from raypeft.trial.declarations import own_declarations


@pytest.fixture
def store(tmp_path):
    return ResultStore(str(tmp_path / "study"), tables())


def said(store, capsys, *arguments):
    assert main([store.url, *arguments]) == 0
    return capsys.readouterr().out


def over_seeds(store):
    return over_seeds_table(rows_of(store), own_declarations())


def test_seeds_of_one_trial_are_one_line_with_mean_deviation_and_an_interval_within_bounds(store):
    for seed, hits in ((1, [1, 1, 0, 0]), (2, [1, 0, 0, 0]), (3, [1, 1, 1, 0])):
        add(store, "lora", hits, seed=seed)
    add(store, "lora", [1, 1, 1, 1], seed=1, lora_r=4)
    _, headings, ((name, ids, seeds, em_at_1, *_),) = over_seeds(store)
    assert headings[:5] == ["trial", "ids", "seeds", "EM@1", "EM@10"]
    assert (name, seeds) == ("lora r 16", "3")
    assert ids.endswith(" +2")
    assert em_at_1 == "50.0 ± 25.0 [0.0, 100.0]"


def test_two_seeds_have_no_interval_and_the_title_says_why(store):
    for seed in (1, 2):
        add(store, "lora", [1, 0, 0, 0], seed=seed)
    title, _, ((_, _, _, em_at_1, *_),) = over_seeds(store)
    assert em_at_1 == "25.0 ± 0.0"
    assert "Fewer than three seeds have no interval" in title


def test_five_draws_of_shots_of_one_training_have_no_interval_over_seeds(store):
    for draw in range(5):
        add(store, "lora", [1, draw % 2, 0, 0], num_shots=2, seed=1, icl_seed=draw)
    title, _, ((_, _, seeds, em_at_1, *_),) = over_seeds(store)
    assert (seeds, em_at_1) == ("5 (seed: 1)", "35.0 ± 13.7")
    assert "needs three of seed and three of icl_seed" in title


def test_losses_are_summarised_too(store):
    for seed in (1, 2, 3):
        add(store, "lora", [1, 0], seed=seed, row={"test_loss": 1 + seed / 1000})
    _, headings, ((*_, loss),) = over_seeds(store)
    assert headings[-1] == "test loss"
    assert loss == "1.0020 ± 0.0010 [0.9995, 1.0045]"


def test_losses_alone_are_not_said_to_be_in_percent(store):
    for seed in (1, 2):
        scores = {"em_at_1": None, "em_at_10": None, "codebleu": None, "test_loss": 1 + seed / 1000}
        add(store, "lora", [1, 0], seed=seed, row=scores)
    title, *_ = over_seeds(store)
    assert "; losses in nats per answer token." in title and "percent" not in title


def test_the_title_explains_the_effects_that_the_table_has(store, capsys):
    add(store, "zero_shot", [0] * 40)
    add(store, "icl", [1] * 4 + [0] * 36)
    one_seed = said(store, capsys, "--markdown")
    assert "effect 8 : 2: the examples that the trial alone hits" in one_seed and "A12" not in one_seed
    for seed in (1, 2, 3):
        add(store, "lora", [1] * (8 + seed) + [0] * (32 - seed), seed=seed)
    assert "effect A12: how often a seed of the trial scores higher" in said(store, capsys, "--markdown")


def test_the_command_prints_both_tables_as_markdown_with_ids_and_the_family(store, capsys):
    add(store, "zero_shot", [0] * 8)
    ids = [add(store, "lora", [1] * (4 + seed) + [0] * (4 - seed), seed=seed) for seed in (1, 2, 3)]
    text = said(store, capsys, "--markdown")
    assert f"| lora r 16 | {ids[0]} +2 | 3 |" in text
    assert "| p | p Holm |" in text
    assert "corrected for all comparisons of a score (1 comparison for each score)" in text


def test_a_line_with_too_few_seeds_says_so(store, capsys):
    add(store, "zero_shot", [0] * 20)
    add(store, "rag", [1] * 15 + [0] * 5, num_shots=4)
    for seed in (1, 2):
        add(store, "lora", [1] * 15 + [0] * 5, seed=seed)
    lines = [line.split(" | ") for line in said(store, capsys, "--markdown").splitlines()]
    cells = {line[0]: line[4] for line in lines if line[3:4] == ["EM@1"] and line[0] != "| trial"}
    assert cells == {"| lora r 16": "2 : 1, too few", "| rag shots 4": "1"}


def test_every_line_names_its_baseline(store, capsys):
    baseline = add(store, "zero_shot", [0] * 8)
    add(store, "lora", [1] * 8)
    assert f"| zero_shot ({baseline}) |" in said(store, capsys, "--markdown")


def test_what_was_not_compared_is_said_with_the_reason(store, capsys):
    add(store, "zero_shot", [0, 0, 1])
    id = add(store, "lora", [1, 1])
    assert f"not compared: lora r 16 ({id}): they were scored on other test examples (2 and 3)" in said(store, capsys)


def test_a_single_trial_leaves_nothing_to_compare(store, capsys):
    add(store, "lora", [1, 0])
    assert "nothing to compare: needs two finished trials" in said(store, capsys)


def test_a_folder_whose_trials_all_failed_has_nothing_to_compare(store, capsys):
    add(store, "lora", [1, 0], row={"status": "failed"})
    assert "has no finished trial" in said(store, capsys)


def test_a_baseline_that_no_trial_is_ends_with_2(store, capsys):
    add(store, "lora", [1, 0])
    assert main([store.url, "--baseline", "lara"]) == 2
    assert "but got lara" in capsys.readouterr().err


def test_ranks_are_printed(store, capsys):
    for model in ("CodeGen-350M-mono", "SmolLM2-135M"):
        for name, hits in (("zero_shot", [0, 0]), ("lora", [1, 0]), ("full", [1, 1])):
            add(store, name, hits, model=model)
    assert "Friedman" in said(store, capsys, "--ranks", "em_at_1")


def test_a_prompt_template_with_bars_stays_in_its_cell_of_a_markdown_table(store, capsys):
    for form, seed in product(("<|user|>{nl}", "{nl}"), (1, 2)):
        add(store, "lora", [1, 0], prompt_template=form, seed=seed)
    lines = [line for line in said(store, capsys, "--markdown").splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert any(r"<\|user\|>" in line for line in lines)


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert "holds no trials/" in capsys.readouterr().err


def test_a_comparison_across_versions_of_raypeft_is_made_and_said(store, capsys):
    add(store, "zero_shot", [0] * 8, row={"raypeft_version": "0.1.0"})
    add(store, "icl", [1] * 8, row={"raypeft_version": "0.1.0"})
    newer = add(store, "lora", [1] * 8, row={"raypeft_version": "0.2.0"})
    text = said(store, capsys, "--markdown")
    assert f"| {newer} | zero_shot " in text
    assert f"compared across versions of raypeft, 0.2.0 against 0.1.0: lora r 16 ({newer}); the changes" in text


def test_without_a_score_asked_for_the_best_goes_by_what_the_trials_have(store, capsys):
    for rate, loss in ((1e-3, 0.5), (3e-3, 0.4)):
        losses = {"em_at_1": None, "em_at_10": None, "codebleu": None, "test_loss": loss, "best_eval_loss": loss}
        add(store, "lora", [0, 0], row=losses, learning_rate=rate, decode=False)
    assert "The best condition of each method by test loss" in " ".join(said(store, capsys, "--best").split())


@pytest.mark.parametrize("option", ["--best", "--ranks"])
def test_a_score_that_no_trial_has_is_refused_with_those_that_they_have(store, capsys, option):
    add(store, "lora", [1, 0])
    assert main([store.url, option, "pass_at_1"]) == 2
    assert f"{option} must be a score that a trial has (em_at_1, " in capsys.readouterr().err
