"""The table of docs/models.md: tiny random models of many classes, decoded and tuned."""

import pytest

from scripts.model_classes import CLASSES, FALLS, FALLS_ELSEWHERE, PAGE, Found, examine, page


def test_the_page_has_a_row_for_every_class():
    text = PAGE.read_text(encoding="utf-8")
    assert len(CLASSES) >= 30
    assert [name for name in CLASSES if f"\n| {name} | " not in text] == []
    assert "NO" not in text.partition("| --- ")[2].split()


def test_a_reason_is_given_once_below_the_table():
    tuned = {"lora": FALLS_ELSEWHERE, "ia3": "refused: no layers", "full": FALLS}
    text = page({"a": Found("plain", "it fails", True, "yes", tuned), "b": Found("no beams", None, None, "", tuned)})
    assert "| a | plain [1] | yes | yes | layers | refused [2] | falls |" in text
    assert "| b | refused [3] |  |  | layers | refused [2] | falls |" in text
    assert text.rstrip().endswith("1. it fails\n2. no layers\n3. no beams")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_decoded_as_generate_does_and_each_method_learns_or_is_refused(name, tmp_path):
    found = examine(name, tmp_path)
    assert found.equal is not False and found.packed != "NO"
    strange = {method: outcome for method, outcome in found.methods.items()
               if outcome not in (FALLS, FALLS_ELSEWHERE) and not outcome.startswith("refused: ")}  # fmt: skip
    assert strange == {}
