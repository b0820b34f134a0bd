"""The charts' script, which is kept because it takes seconds to make."""

from importlib.metadata import version
from pathlib import Path

import pytest
import vl_convert

from raypeft.analysis.report import page as page_module
from raypeft.analysis.report.page import charts_script


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a bundle that counts how often it is made."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda: made.append(1) or "window.x = 1")
    made.clear()
    charts_script.cache_clear()
    yield tmp_path / "raypeft"
    charts_script.cache_clear()


made: list[int] = []


def again() -> str:
    page_module.charts_script.cache_clear()
    return charts_script()


def test_the_script_is_made_once_and_kept(cache: Path) -> None:
    assert again() == again() != "" and len(made) == 1
    assert [path.name for path in cache.iterdir()] == [f"charts-{version('vl-convert-python')}.txt"]


def test_a_kept_script_that_is_not_whole_is_made_anew(cache: Path) -> None:
    whole = again()
    kept = next(cache.iterdir())
    kept.write_text(kept.read_text()[:20])
    assert again() == whole and len(made) == 2


def test_without_a_folder_to_keep_it_in_it_is_made_all_the_same(cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    assert again() and len(made) == 1
