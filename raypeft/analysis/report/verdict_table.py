"""The verdicts on a study's claims as tables: one line a claim, and, where a claim has several parts, one line a part.

for table in verdict_tables(study):
    print(table.title, len(table.lines))
print(*verdict_lines(study), sep="\n")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raypeft.analysis.claims.claim import Part
from raypeft.analysis.claims.verdicts import Finding
from raypeft.analysis.findings import p_text
from raypeft.analysis.report.study import Study
from raypeft.analysis.report.table import Line, Table, TableColumn

CAPTION = (
    "supported: the claim holds for every model, dataset and value that it speaks of, and its 95 % interval lies where "
    "it says. refuted: the interval of one of them lies elsewhere. undecided: neither. p Holm: two-sided, corrected "
    "for all claims of the report. The effect is that of the part on which the verdict hangs."
)
SO_FAR = " The sweep is not finished, so that verdicts may change."
HEADINGS = (
    TableColumn("claim", False), TableColumn("verdict", False), TableColumn("effect [95 %]"), TableColumn("p Holm"),
    TableColumn("what is missing", False), TableColumn("rule", False),
)  # fmt: skip
PART_HEADINGS = (
    TableColumn("claim", False), TableColumn("part", False), TableColumn("effect [95 %]"),
    TableColumn("p that it holds"), TableColumn("p that it does not"), TableColumn("what is missing", False),
)  # fmt: skip
VERDICTS = ("supported", "refuted", "undecided")


def verdict_tables(study: Study) -> list[Table]:
    """The tables of the claims; none where there are no claims."""
    findings = study.findings
    if not findings:
        return []
    made = [
        Table(
            "claims", "Claims", CAPTION + (SO_FAR if study.is_unfinished else ""), HEADINGS, tuple(map(_line, findings))
        )
    ]
    if lines := tuple(_part_lines(findings)):
        caption = "The parts of claims that have several: models, datasets, values. p-values are not corrected."
        made.append(Table("claim_parts", "Claims, part by part", caption, PART_HEADINGS, lines))
    return made


def verdict_lines(study: Study) -> list[str]:
    """The verdicts for a terminal, a line or two each; nothing where there are no claims."""
    lines = []
    for found in study.findings:
        part = found.decisive or Part("")
        effect = f"{part.block}: {part.effect}" if part.block and part.effect else part.effect
        told = f"{effect}; p Holm {p_text(found.p_holm)}" if effect else ""
        lines.append(f"{found.verdict:10} {found.sentence}")
        rule = f"rule: {part.rule}" if part.rule else ""
        lines += [f"{'':10} {text}" for text in (told, rule, _missing(found)) if text]
    more = [SO_FAR.strip()] if lines and study.is_unfinished else []
    return [f"claims ({len(study.findings)}):", *lines, *more] if lines else []


def _missing(found: Finding) -> str:
    return f"missing: {found.missing}" if found.missing else ""


def _line(found: Finding) -> Line:
    part = found.decisive or Part("")
    parts = f" ({len(found.parts)} parts)" if len(found.parts) > 1 else ""
    block = f"{part.block}: " if part.block and part.effect else ""
    source = f" ({found.claim.source})" if found.claim.source else ""
    values = {
        "claim": found.sentence, "source": found.claim.source or "", "verdict": found.verdict, "on": found.claim.on,
        **part.values, "p_value": found.p_value, "p_holm": found.p_holm, "parts": len(found.parts),
        "missing": found.missing, "rule": part.rule,
    }  # fmt: skip
    cells = (found.sentence + source, found.verdict, f"{block}{part.effect}",
             p_text(found.p_holm) if found.is_tested else "", found.missing,
             part.rule + parts)  # fmt: skip
    sort = (None, VERDICTS.index(found.verdict), None, found.p_holm, None, None)
    return Line(cells, sort, marks=(found.verdict,), values=values)


def _part_lines(findings: Sequence[Finding]) -> Iterator[Line]:
    for found in findings:
        for part in found.parts if len(found.parts) > 1 else ():
            told = part.lacks or part.would_decide
            cells = (found.sentence, part.block, part.effect, p_text(part.supports), p_text(part.refutes), told)
            yield Line(cells, (None, None, None, part.supports, part.refutes, None),
                       values={"claim": found.sentence, "part": part.block, **part.values, "p_supports": part.supports,
                               "p_refutes": part.refutes, "missing": told, "rule": part.rule})  # fmt: skip
