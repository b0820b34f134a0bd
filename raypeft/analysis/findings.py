"""What the trials of a sweep say together: how far seeds scatter, and which differences are more than chance.

    raypeft findings results/quickstart                              # every trial against the untuned model
    raypeft findings results/rq2 --baseline lora --markdown          # against LoRA on the same model and dataset
    raypeft findings results/sensitivity --baseline lora_r=16        # against rank 16, all else equal
    raypeft findings results/rq2 --ranks                             # do the methods differ over models and datasets?
    raypeft findings results/rq3 --best em_at_10                     # the best of each method, chosen on validation

Would another seed say the same? Is the difference to a baseline more than chance? Which methods differ over many models
and datasets? Which condition is the best, and how much of that is luck?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from raypeft.analysis.comparisons import Comparison
from raypeft.analysis.conditions import Condition, conditions
from raypeft.analysis.pairing import has_enough_seeds, seeds_text
from raypeft.markdown import markdown_table
from raypeft.metrics.metric import Score
from raypeft.mistakes import number_of, some
from raypeft.results.declarations import Declarations
from raypeft.training.columns import NATS

Row = Mapping[str, Any]
Lines = tuple[str, list[str], list[list[str]]]
"""A table: title, headings, lines."""
AGAINST = ("trial", "ids", "against", "score", "seeds", "difference [95 %]", "effect", "p", "p Holm",
           "could show", "would decide")  # fmt: skip
EFFECTS = {
    "odds": "effect 8 : 2: the examples that the trial alone hits, and those that what it is compared with alone hits.",
    "A12": "effect A12: how often a seed of the trial scores higher than one of what it is compared with (0.5: no "
           "difference).",
}  # fmt: skip
"""What the effects with these words in them are."""


def over_seeds_table(rows: Sequence[Row], declared: Declarations) -> Lines:
    """One line for each condition that ran with several seeds: `mean ± deviation [low, high]` of each score.

    Too few seeds have no interval. Intervals of fractions are cut at 0 and 100 %.
    """
    scores = [score for score in declared.scores if score.over_seeds]
    groups = [each for each in conditions(rows, declared) if len(each.rows) > 1]
    enough = [has_enough_seeds(each, declared) for each in groups]
    lines = [
        [each.label, each.ids, seeds_text(each, declared), *(_scatter(each, score, has_interval) for score in scores)]
        for each, has_interval in zip(groups, enough, strict=True)
    ]
    lines = [line for line in lines if any(line[3:])]
    few = "" if all(enough) else (
        " Fewer than three seeds have no interval, and that of five is half as wide as that of three. A training with "
        "random shots needs three of seed and three of icl_seed.")  # fmt: skip
    known = [score for place, score in enumerate(scores, 3) if any(line[place] for line in lines)]
    title = f"Over seeds: mean ± standard deviation [95 % interval of the mean]; {_units(known)}.{few}"
    return title, ["trial", "ids", "seeds", *(score.title for score in scores)], lines


def _units(scores: Sequence[Score]) -> str:
    """What scores are shown in: `scores in percent, losses in nats per answer token`."""
    names = {"fraction": "scores in percent", NATS: f"losses in {NATS}"}
    return ", ".join(dict.fromkeys(names.get(score.unit, f"{score.title} in {score.unit}") for score in scores))


def _scatter(condition: Condition, score: Score, has_interval: bool) -> str:
    from raypeft.analysis.statistics.seeds import over_seeds

    values = [row[score.name] for row in condition.rows if row.get(score.name) is not None]
    if len(values) < 2:
        return ""
    seeds = over_seeds(values)
    assert seeds.standard_deviation is not None
    text = f"{score.text(seeds.mean)} ± {score.text(seeds.standard_deviation)}"
    if seeds.low is None or seeds.high is None or not has_interval:
        return text
    low, high = (max(0.0, seeds.low), min(1.0, seeds.high)) if score.unit == "fraction" else (seeds.low, seeds.high)
    return f"{text} [{score.text(low)}, {score.text(high)}]"


def against_table(made: Sequence[Comparison]) -> Lines:
    """One line for each comparison; all of one score are a family for Holm's correction."""
    families = Counter(each.score.name for each in made)
    sizes = sorted(set(families.values())) or [0]
    family = number_of(sizes[-1], "comparison") if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} comparisons"
    told = [
        "Differences on the same test examples, in percentage points for scores in percent. p Holm is corrected for "
        f"all comparisons of a score ({family} for each score).",
        *(words for sign, words in EFFECTS.items() if any(sign in each.effect for each in made)),
    ]
    if not all(each.is_significant for each in made):
        told.append(
            "could show: the smallest difference that would be found with a chance of 80 %. would decide: what would "
            "probably be enough to find one as large as the measured one."
        )
    if any(each.lacks_seeds for each in made):
        told.append(
            "Lines with too few seeds, fewer than 3 of what trains or draws its shots, count other test examples as "
            "chance, not other seeds: other seeds may say otherwise."
        )
    return " ".join(told), list(AGAINST), [_line(each) for each in made]


def _line(each: Comparison) -> list[str]:
    score = each.score
    difference = f"{score.text(each.difference, '+')} [{score.text(each.low, '+')}, {score.text(each.high, '+')}]"
    seeds = str(each.seeds[0]) if each.seeds[0] == each.seeds[1] else f"{each.seeds[0]} : {each.seeds[1]}"
    seeds += ", too few" if each.lacks_seeds else ""
    shows = "" if each.is_significant else score.text(each.detectable)
    against = f"{each.baseline.label} ({each.baseline.ids})"
    return [each.condition.label, each.condition.ids, against, score.title, seeds, difference,
            each.effect, p_text(each.p_value), p_text(each.p_holm), shows, each.would_decide]  # fmt: skip


def left_out_text(left_out: Sequence[tuple[Condition, str]]) -> list[str]:
    """One sentence for each reason for which conditions were not compared."""
    reasons: dict[str, list[Condition]] = {}
    for condition, reason in left_out:
        reasons.setdefault(reason, []).append(condition)
    return [
        f"not compared: {some(f'{each.label} ({each.ids})' for each in found)}: {reason}"
        for reason, found in reasons.items()
    ]


def versions_text(made: Sequence[Comparison]) -> list[str]:
    """One sentence for each pair of versions of raypeft that were compared with each other: both may measure alike, so
    the comparisons stand, but nobody should have to find out."""
    found: dict[str, dict[str, None]] = {}
    for each in made:
        ours, theirs = ({row["raypeft_version"] for row in side.rows if row.get("raypeft_version")}
                        for side in (each.condition, each.baseline))  # fmt: skip
        if ours and theirs and ours != theirs:
            versions = f"{', '.join(sorted(ours))} against {', '.join(sorted(theirs))}"
            found.setdefault(versions, {})[f"{each.condition.label} ({each.condition.ids})"] = None
    return [
        f"compared across versions of raypeft, {versions}: {some(names)}; the changes between them may be a part of "
        "the differences"
        for versions, names in found.items()
    ]


def p_text(value: float) -> str:
    """A p-value as tables show it."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def as_text(title: str, headings: Sequence[str], lines: Sequence[Sequence[str]], markdown: bool) -> str | Table:
    """A table for the terminal, or GitHub's Markdown; columns in which no line says anything are left out."""
    said = [any(line[place] for line in lines) for place in range(len(headings))]
    headings, lines = list(compress(headings, said)), [list(compress(line, said)) for line in lines]
    if markdown:
        return "\n".join([title, "", *markdown_table(headings, lines), ""])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(title), title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(Text(heading), justify="right" if place > 2 else "left")
    for line in lines:
        table.add_row(*map(Text, line))
    return table
