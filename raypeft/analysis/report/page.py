"""The report as one HTML file that opens from disk, without a network, and shows what the folders hold.

    page = make_page(open_study(["results/rq2"]))
    write_page(page, "results/rq2/report.html")

Charts, trials and examples are in the file as compressed JSON, which the page's script opens when they are looked at.
So the file stays small, and no text of a results folder can be taken for markup. A policy in the page (CSP) forbids
every request to a network.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft import __version__
from raypeft.analysis.report.cautions import cautions
from raypeft.analysis.report.details import evaluations, trial_details
from raypeft.analysis.report.examples import Packed, choose, packed
from raypeft.analysis.report.lead import lead
from raypeft.analysis.report.panels import Panel, panels
from raypeft.analysis.report.provenance import provenance
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.table import Table
from raypeft.analysis.report.tables import tables, unscored
from raypeft.analysis.report.theme import config
from raypeft.analysis.report.verdict_table import verdict_tables
from raypeft.analysis.warnings import warnings
from raypeft.results.declarations import tested_on

if TYPE_CHECKING:
    from raypeft.analysis.report.figures.figure import Figure

FIRST_LINES = 100
"""Lines of a table that are shown before a reader asks for all."""


END = "\nend"
"""The last line of the kept script. Without it the file is not whole."""


@dataclass(frozen=True, slots=True)
class PanelPage:
    """What the page has of one dataset."""

    dataset: str
    lead: str
    """The answer in a sentence."""
    tables: tuple[Table, ...]
    figures: tuple[tuple[str, Figure], ...]
    """With the names of their files."""


@dataclass(frozen=True, slots=True)
class Page:
    """A report, ready to be written as HTML or as files for a paper."""

    study: Study
    verdicts: tuple[Table, ...]
    """The tables of the sweep's claims."""
    panels: tuple[PanelPage, ...]
    warnings: tuple[str, ...]
    unscored: Table | None
    examples: Packed

    @property
    def has_scores(self) -> bool:
        """Whether a trial has scores that can be shown."""
        return any(panel.tables for panel in self.panels)

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        more = [self.unscored] if self.unscored else []
        return [*self.verdicts, *(table for panel in self.panels for table in panel.tables), *more]

    @property
    def figures(self) -> list[tuple[str, Figure]]:
        """All figures, with the names of their files."""
        return [each for panel in self.panels for each in panel.figures]


def make_page(study: Study, found: Sequence[Panel] | None = None) -> Page:
    """Everything that the report of a study shows. `found` are its panels, where they have been made."""
    from raypeft.analysis.report.figures import figures, figures_without_scores

    found = panels(study) if found is None else found
    parts = []
    taken: set[str] = set()
    for panel in found:
        ending = panel.dataset if len(found) > 1 else ""
        named = tuple((_own_name(each.name, ending, taken), each) for each in figures(panel, study))
        parts.append(PanelPage(panel.dataset, lead(panel), tuple(tables(panel, study)), named))
    shown = {panel.dataset for panel in found}
    for dataset in dict.fromkeys(tested_on(row) for row in study.unscored if tested_on(row) not in shown):
        drawn = tuple((_own_name(each.name, dataset, taken), each) for each in figures_without_scores(dataset, study))
        if drawn:
            parts.append(PanelPage(dataset, "", (), drawn))
    told = [*cautions(study, found), *warnings(study.scored)]
    return Page(study, tuple(verdict_tables(study)), tuple(parts), tuple(told), unscored(study), choose(study, found))


def _own_name(name: str, ending: str, taken: set[str]) -> str:
    """The name of a figure's file, which no other figure of the page has, also where upper case is lower case."""
    whole = f"{name}_{ending}" if ending else name
    own = next(
        each for each in chain([whole], (f"{whole}_{number}" for number in count(2))) if each.lower() not in taken
    )
    taken.add(own.lower())
    return own


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    folder = Path(__file__).parent / "web"
    environment = Environment(autoescape=True, loader=FileSystemLoader(folder), trim_blocks=True, lstrip_blocks=True)
    figures = page.figures
    return environment.get_template("page.html").render(
        page=page,
        study=page.study,
        made=f"raypeft {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        provenance=provenance(page.study),
        first_lines=FIRST_LINES,
        # These are files of this package, and base64: nothing in them comes from a results folder as it is.
        css=Markup((folder / "page.css").read_text("utf-8")),  # noqa: S704
        script=Markup((folder / "page.js").read_text("utf-8")),  # noqa: S704
        charts_script=charts_script() if figures else "",
        specs=packed({name: figure.spec() for name, figure in figures}),
        themes=packed({"light": config(), "dark": config(dark=True)}),
        trials=packed(trial_details(page.study)),
        evaluations=packed(evaluations(page.study)),
    )


@cache
def charts_script() -> str:
    """Vega, Vega-Lite and vega-embed in one script, compressed.

    It takes seconds to make, so it is kept in the user's cache folder for each version of vl-convert.
    """
    import vl_convert

    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "raypeft"
    kept = cache / f"charts-{version('vl-convert-python')}.txt"
    with contextlib.suppress(OSError, ValueError):
        if (found := kept.read_text("ascii")).endswith(END):
            return found.removesuffix(END)
    bundle: Any = vl_convert.javascript_bundle  # its stub says that an argument is needed
    made = packed(f"(() => {{{bundle()}\n}})()")
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(made + END, "ascii")
    return made


def write_page(page: Page, path: str | Path) -> Path:
    """Write the page and return its path. Raises OSError where it cannot be written."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_text(render(page), "utf-8", errors="replace")
    temporary.replace(target)
    return target
