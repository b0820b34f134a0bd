"""What a panel leads with: the setting that validation chose."""

from pathlib import Path

from report_folders import add_row, hits_of_share, made_row, store_at

from raypeft.analysis.report.lead import lead
from raypeft.analysis.report.panels import panels
from raypeft.analysis.report.study import open_study


def told(folder: Path, *rows: dict) -> str:
    store = store_at(folder)
    for row in rows:
        add_row(store, row)
    (panel,) = panels(open_study([str(folder)]))
    return lead(panel)


def rated(rate: float, share: float, loss: float | None, **fields: object) -> dict:
    more = {} if loss is None else {"best_eval_loss": loss}
    return made_row(hits_of_share(share), more=more, learning_rate=rate, **fields)


def test_it_leads_with_the_choice_of_validation_and_notes_the_best_on_test(tmp_path: Path) -> None:
    text = told(tmp_path, rated(1e-4, 0.5, 0.5), rated(1e-3, 0.6, 0.9))
    assert text.startswith("Validation chose lora lr 0.0001, r 16, EM@10 50.0 [40.0, 60.0] % (by validation loss). ")
    assert "Best on test, which is optimistic: lora lr 0.001, r 16, EM@10 60.0 [50.0, 70.0] %." in text


def test_a_choice_that_is_the_best_on_test_as_well_is_told_once(tmp_path: Path) -> None:
    text = told(tmp_path, rated(1e-4, 0.5, 0.5), rated(1e-3, 0.2, 0.9))
    assert "It is the best on test as well." in text and "optimistic" not in text


def test_where_validation_chose_nothing_the_best_on_test_is_called_optimistic(tmp_path: Path) -> None:
    text = told(tmp_path, rated(1e-4, 0.5, None), rated(1e-3, 0.6, None))
    assert text.startswith("Nothing was chosen on validation. Best on test, which is optimistic: lora lr 0.001")


def test_one_condition_is_told_without_a_choice(tmp_path: Path) -> None:
    assert told(tmp_path, rated(1e-4, 0.5, 0.5)) == "lora r 16, EM@10 50.0 [40.0, 60.0] %."
