"""The panel of a made study, for tests of what is shown of it."""

from pathlib import Path

import pytest
from report_folders import made_study

from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.study import Study, open_study


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made study with two seeds. Tests must not change it."""
    folder = tmp_path_factory.mktemp("made")
    made_study(folder, seeds=2)
    return folder


@pytest.fixture
def shown(made_folder: Path) -> tuple[Panel, Study]:
    study = open_study([str(made_folder)])
    (panel,) = panels(study)
    return panel, study
