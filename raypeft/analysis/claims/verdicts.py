"""The verdicts on the claims of a study: supported, refuted or undecided.

    for finding in findings(study):
        print(finding.verdict, finding.sentence, finding.p_holm)

All claims that can be tested are one family: the p-values of their verdicts are corrected by Holm, so that the chance
of even one false verdict stays at about 5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from raypeft.analysis.claims import FORMS, Claim
from raypeft.analysis.claims.claim import Part, refutes, supports
from raypeft.analysis.claims.evidence import Evidence
from raypeft.analysis.comparisons import SIGNIFICANT
from raypeft.analysis.conditions import Row, conditions
from raypeft.analysis.statistics.families import holm
from raypeft.metrics.metric import Values
from raypeft.mistakes import nearest
from raypeft.results.declarations import Declarations

Verdict = Literal["supported", "refuted", "undecided"]
NO_TRIALS = "no two trials with scores can be compared for it"


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim with its verdict."""

    claim: Claim
    sentence: str
    parts: tuple[Part, ...]
    p_value: float
    """Two-sided, of the surer of the claim and its contrary."""
    verdict: Verdict = "undecided"
    p_holm: float = 1.0
    """Corrected for all claims of the study."""

    @property
    def is_tested(self) -> bool:
        """Whether at least one part could be tested."""
        return any(not part.lacks for part in self.parts)

    @property
    def decisive(self) -> Part | None:
        """The part on which the verdict hangs: the weakest support, or the surest contrary."""
        if not self.parts:
            return None
        if self.verdict == "refuted":
            return min(self.parts, key=lambda part: part.refutes)
        return max(self.parts, key=lambda part: (bool(part.lacks), part.supports))

    @property
    def missing(self) -> str:
        """What an undecided claim lacks; empty where it is decided."""
        part = self.decisive
        if self.verdict != "undecided":
            return ""
        if part is None:
            return NO_TRIALS
        if part.lacks:
            return part.lacks
        if min(part.supports, part.refutes) < SIGNIFICANT and self.p_value < SIGNIFICANT:
            return f"alone it would be decided (p {self.p_value:.3f}), but not among all claims that are tested"
        return part.would_decide


def read_claim(data: Any, fractions: Callable[[str], bool] = lambda name: True) -> Claim:
    """A claim from its mapping in a sweep file. `fractions` says whether a score is a share.

    Raises ValueError with all that is wrong with it, one mistake a line.
    """
    if not isinstance(data, dict):
        raise ValueError(f"must be a mapping such as {{better: {{tuning_method: lora}}, ...}} but got {data!r}")
    kind = next((kind for kind in FORMS if kind in data), None)
    if kind is None:
        word = next(iter(data), "nothing")
        raise ValueError(f"must have one of the keys {', '.join(FORMS)}, which name its form, but got "
                         f"{', '.join(map(str, data)) or 'an empty mapping'}{nearest(word, FORMS)}")  # fmt: skip
    try:
        claim = FORMS[kind].model_validate(data)
    except ValidationError as error:
        raise ValueError("\n".join(_message(problem, FORMS[kind]) for problem in error.errors())) from None
    if problems := list(claim.problems(fractions(claim.on))):
        raise ValueError("\n".join(problems))
    return claim


def _message(problem: Any, form: type[Claim]) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in form.model_fields.items()]
        return f"{place}: {form.kind} has no such key{nearest(place, known)}"
    if problem["type"] == "missing":
        return f"{place}: is required"
    text = problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    got = "" if problem["type"] == "value_error" else f" but got {problem['input']!r}"
    return f"{place}: {text}{got}" if place else f"{text}{got}"


def read_claims(text: str) -> list[Claim]:
    """The claims of a sweep file that was run. What this version cannot read is left out: `unread_claims` says it."""
    return [each for each in _claims(text) if not isinstance(each, str)]


def unread_claims(text: str) -> list[str]:
    """The claims of a sweep file that this version cannot read, such as those of another one: each with the reason."""
    return [each for each in _claims(text) if isinstance(each, str)]


def _claims(text: str) -> Iterator[Claim | str]:
    try:
        data = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return
    listed = data.get("claims") if isinstance(data, dict) else None
    for number, each in enumerate(listed if isinstance(listed, list) else [], 1):
        if isinstance(each, dict):
            each = {
                "on" if key is True else key: value for key, value in each.items()
            }  # YAML reads a bare `on` as true
        try:
            yield read_claim(each)
        except ValueError as error:
            yield f"claim {number} ({'; '.join(str(error).splitlines())})"


def make_evidence(rows: Sequence[Row], declared: Declarations, values: Callable[[Row], Values]) -> Evidence:
    """The evidence of rows with scores. A row's scores of single examples are read once."""
    by_id = {row["id"]: row for row in rows}

    @cache
    def of_trial(trial: str) -> Values:
        return values(by_id[trial])

    return Evidence(tuple(conditions(rows, declared)), declared, lambda row: of_trial(row["id"]))


def judged(claims: Iterable[Claim], evidence: Evidence) -> list[Finding]:
    """The verdicts on claims, in their order."""
    found = [_tested(claim, evidence) for claim in claims]
    family = [place for place, each in enumerate(found) if each.is_tested]
    for place, p_holm in zip(family, holm([found[place].p_value for place in family]), strict=True):
        found[place] = _with_verdict(found[place], p_holm)
    return found


def _tested(claim: Claim, evidence: Evidence) -> Finding:
    try:
        score = evidence.declared.score(claim.on, "on")
    except ValueError:
        stated = claim.model_dump(exclude_unset=True, exclude={"says", "source"})
        written = yaml.safe_dump(stated, default_flow_style=True, sort_keys=False, width=1e9)
        words = written.strip()[1:-1].replace("'on':", "on:")
        lacks = f"these results declare no score {claim.on}: they or the claim are of another version of raypeft"
        return Finding(claim, claim.says or words, (Part("", lacks=lacks),), 1.0)
    parts = tuple(claim.parts(evidence, score))
    return Finding(claim, claim.words(score), parts, min(supports(parts), refutes(parts)))


def _with_verdict(found: Finding, p_holm: float) -> Finding:
    if p_holm >= SIGNIFICANT:
        return replace(found, p_holm=p_holm)
    verdict: Verdict = "supported" if supports(found.parts) <= refutes(found.parts) else "refuted"
    return replace(found, p_holm=p_holm, verdict=verdict)
