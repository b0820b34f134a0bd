"""The files for a paper: each table as CSV, LaTeX and Markdown, each figure as SVG, PNG, PDF and CSV.

write_exports(folder, tables, figures)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypeft.analysis.report.table import Table
from raypeft.analysis.report.theme import config
from raypeft.markdown import markdown_table

if TYPE_CHECKING:
    from raypeft.analysis.report.figures.figure import Figure

PIXELS = 3
"""Pixels of a PNG for each one of the page: 460 of width become 1380."""
SIGNS = {"best_on_test": "‡", "tied": "†", "chosen": "*"}
TOLD = {"best": "Bold: the best on validation", "best_on_test": "‡: best on test", "tied": "†: tied with that one",
        "chosen": "*: chosen on validation"}  # fmt: skip
SUPERSCRIPTS = {"†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}", "*": r"\textsuperscript{*}"}
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "†": r"\dag{}", "‡": r"\ddag{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "≥": r"$\geq$",
}  # fmt: skip
"""What pdflatex does not print as it stands. In its usual fonts `<`, `>` and `|` come out as other signs."""


def write_exports(folder: Path, tables: Iterable[Table], figures: Iterable[tuple[str, Figure]]) -> list[Path]:
    """Write all files and return their paths. `figures` come with the names of their files.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for table in tables:
        for ending, make in (("csv", table_csv), ("tex", latex), ("md", markdown)):
            written.append(folder / f"{table.name}.{ending}")
            written[-1].write_text(make(table), "utf-8")
    for name, figure in figures:
        for ending, content in drawn(figure).items():
            written.append(folder / f"{name}.{ending}")
            written[-1].write_bytes(content)
    return written


def drawn(figure: Figure) -> dict[str, bytes]:
    """A figure as SVG, PNG, PDF and CSV, by the ending of the file. No browser is needed.

    Data beside the rows that are drawn, such as the optima of lines, is a CSV of its own (`optima.csv`).
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg({**figure.spec(), "config": config()})
    return {
        "svg": svg.encode(),
        "png": vl_convert.svg_to_png(svg, scale=PIXELS),
        "pdf": vl_convert.svg_to_pdf(svg),
        "csv": csv_text(figure.rows).encode(),
        **{f"{name}.csv": csv_text(rows).encode() for name, rows in figure.extra.items()},
    }


def table_csv(table: Table) -> str:
    return csv_text([line.values for line in table.lines])


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, with the columns of all rows in the order in which they first come."""
    names = dict.fromkeys(name for row in rows for name in row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def markdown(table: Table) -> str:
    """A table as GitHub's Markdown."""
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    lines = markdown_table([column.title for column in table.columns], _marked(table, "**{}**"), rules)
    return "\n".join([f"**{table.title}.** {_caption(table)}", "", *lines, ""])


def latex(table: Table) -> str:
    r"""A table for LaTeX with the package booktabs. The best line is bold, the others have signs."""
    form = "".join("r" if column.numeric else "l" for column in table.columns)
    head = " & ".join(_in_latex(column.title) for column in table.columns)
    body = [" & ".join(cells) + r" \\" for cells in _marked(table, r"\textbf{{{}}}", _in_latex)]
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"  \centering", f"  \\caption{{{_in_latex(table.title)}. "
        f"{_in_latex(_caption(table))}}}", f"  \\label{{tab:{table.name.replace('_', '-')}}}",
        f"  \\begin{{tabular}}{{{form}}}",
        r"    \toprule", f"    {head} \\\\", r"    \midrule", *(f"    {line}" for line in body), r"    \bottomrule",
        r"  \end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def _caption(table: Table) -> str:
    """The caption, and what the signs mean that the lines have."""
    marks = {mark for line in table.lines for mark in line.marks}
    told = [words for mark, words in TOLD.items() if mark in marks]
    return f"{table.caption} {'; '.join(told)}." if told else table.caption


def _in_latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text.replace("\n", " "))


def _marked(table: Table, bold: str, escaped: Any = str) -> Iterable[list[str]]:
    """The texts of each line, the best one bold, and signs at the first cell of those that are tied or chosen."""
    for line in table.lines:
        cells = [escaped(cell) for cell in line.cells]
        if "best" in line.marks:
            cells = [bold.format(cell) if cell else "" for cell in cells]
        signs = "".join(sign for mark, sign in SIGNS.items() if mark in line.marks)
        if escaped is _in_latex:
            signs = "".join(SUPERSCRIPTS[sign] for sign in signs)
        yield [cells[0] + signs, *cells[1:]]
