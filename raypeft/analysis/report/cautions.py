"""What a reader must know of a whole study before believing its order: seeds, edges, versions, what is missing.

    for text in cautions(study, panels(study)):
        print(text)

`raypeft.analysis.warnings` has the warnings about single trials. Each function here is one line in `CAUTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from raypeft.analysis.pairing import fewest_seeds
from raypeft.analysis.report.panels import Panel, by_method, is_number, values_of_field
from raypeft.analysis.report.study import Study
from raypeft.analysis.settings import SHORT
from raypeft.analysis.statistics.seeds import FEWEST_SEEDS

MOST_CONFLICTS = 10
"""Trials with other scores in another folder that are told one by one."""
VALUES_WITH_AN_EDGE = 3
"""Values of a field from which its edge says something."""
VERSIONS = {
    "raypeft_version": "versions of raypeft", "git_commit": "commits of raypeft", "torch_version": "versions of torch",
    "transformers_version": "versions of transformers", "peft_version": "versions of peft", "device": "devices",
}  # fmt: skip


def unfinished(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    for sweep in study.sweeps:
        if missing := study.missing_of(sweep):
            yield f"{sweep.name} is not finished: {missing} of {sweep.planned} trials have no row yet"


def unread(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    for sweep in study.sweeps:
        for text in sweep.unread_claims:
            yield f"a claim of {sweep.name} has no verdict, because this version of raypeft cannot read it: {text}"


def few_seeds(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    counts = [fewest_seeds(each.condition, study.declared)[1] for panel in panels for each in panel.standings
              if study.declared.method(each.condition.fields["tuning_method"]).trains]  # fmt: skip
    if counts and min(counts) < FEWEST_SEEDS:
        few = sum(count < FEWEST_SEEDS for count in counts)
        have = any(one.low is not None for panel in panels for each in panel.standings for one in each.scores.values())
        so = "their intervals are over test examples and say nothing of other seeds" if have else (
            "with other seeds their order may be another one")  # fmt: skip
        yield f"few seeds: {few} of {len(counts)} trained conditions ran with fewer than {FEWEST_SEEDS} seeds; {so}"


def at_the_edge(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    """A numeric field whose best value is the lowest or the highest that was tried: a better one may lie beyond."""
    for panel in panels:
        for (_, method), found in by_method(panel).items():
            best = next((each for each in found if each.is_chosen), found[0])
            for name in panel.swept(found):
                values = [value for value in values_of_field(found, name) if is_number(value)]
                value = best.condition.fields.get(name)
                if len(values) >= VALUES_WITH_AN_EDGE and value in (values[0], values[-1]):
                    side = "lowest" if value == values[0] else "highest"
                    how = "on validation" if best.is_chosen else "on the test"
                    yield (f"the best {SHORT.get(name, name)} of {method} {how} ({value:g}) is the {side} one that was "
                           "tried: a better one may lie beyond")  # fmt: skip


def chosen_on_test(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    for panel in panels:
        open_ones = sorted({method for (_, method), found in by_method(panel).items()
                            if len(found) > 1 and not any(each.is_chosen for each in found)})  # fmt: skip
        if open_ones:
            yield (
                f"nothing was chosen on validation for {', '.join(open_ones)} on {panel.dataset}: the best of several "
                "test scores is too high by luck (validation_limit in the sweep file adds a validation score)"
            )


def mixed(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    for column, words in VERSIONS.items():
        values = sorted({str(row[column]) for row in study.scored if row.get(column) is not None})
        if len(values) > 1:
            yield f"trials were made with {len(values)} {words} ({', '.join(value[:12] for value in values[:4])})"


def repeated(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    if study.repeated:
        yield f"trials in more than one folder: {study.repeated}; each is shown once, from the first folder with scores"


def conflicting(study: Study, panels: Sequence[Panel]) -> Iterator[str]:
    """Trials that two folders have with other scores are named; those with other code alone are counted."""
    scores = [each for each in study.conflicts if each.in_scores]
    if scores:
        yield f"other scores of the same trial in another folder: {len(scores)} trials; the first folder's are shown"
    yield from (str(each) for each in scores[:MOST_CONFLICTS])
    if len(scores) > MOST_CONFLICTS:
        yield f"and {len(scores) - MOST_CONFLICTS} more trials with other scores in another folder"
    others = [each for each in study.conflicts if not each.in_scores]
    if others:
        yield (f"same scores in another folder, but other code, data or hardware: {len(others)} trials; the first is "
               f"{others[0]}")  # fmt: skip


CAUTIONS: tuple[Callable[[Study, Sequence[Panel]], Iterator[str]], ...] = (
    unfinished, unread, chosen_on_test, few_seeds, at_the_edge, mixed, repeated, conflicting,
)  # fmt: skip


def cautions(study: Study, panels: Sequence[Panel]) -> list[str]:
    """All cautions about a study, each a sentence."""
    return list(dict.fromkeys(text for check in CAUTIONS for text in check(study, panels)))
