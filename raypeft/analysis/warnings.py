"""What a reader must know before believing a row: runs that diverged or learned nothing, leakage, cut answers.

    for text in warnings(rows):
        print(text)

Each warning is a function of a row's columns, one line in `WARNINGS`. Where a row of an older version lacks the columns
of a warning, it is silent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raypeft.analysis.settings import data_of
from raypeft.mistakes import some
from raypeft.results.declarations import tested_on

Row = Mapping[str, Any]

DIVERGED = 1.5
"""A run whose last validation loss is so many times its lowest one is called diverged."""
OTHER_LOGITS = 0.01
"""Share of the largest logit from which a difference is more than rounding, which is up to 0.004 in bfloat16."""
MANY_CUT = 0.1
"""Share of candidates cut at max_new_tokens from which it is worth a word."""


def diverged(row: Row) -> str:
    last, best = row.get("last_eval_loss"), row.get("best_eval_loss")
    if last is None or best is None or last <= DIVERGED * best:
        return ""
    return f"diverged: the validation loss rose from {best:.3f} (step {row.get('best_step')}) to {last:.3f}"


def learned_nothing(row: Row) -> str:
    if row.get("unchanged_tensors") and row["unchanged_tensors"] == row.get("trained_tensors"):
        return "learned nothing: training changed no parameter"
    if row.get("first_eval_step") and row.get("best_step") == row["first_eval_step"] < (row.get("steps") or 0):
        return f"best at the first evaluation (step {row['best_step']} of {row['steps']}): a later one was never better"
    return ""


def adapter_reload_differs(row: Row) -> str:
    share = row.get("adapter_reload_difference")
    if share is None or share <= OTHER_LOGITS:
        return ""
    return f"the saved adapter gives other logits than the trained one did, by up to {100 * share:.0f} % of the largest"


def references_too_long(row: Row) -> str:
    count = row.get("references_too_long") or 0
    return f"{count} references are longer than max_new_tokens: no candidate can match them" if count else ""


def references_lost(row: Row) -> str:
    count = row.get("references_lost") or 0
    lost = "references are lost in the model's tokenizer, or cut where answers begin or end"
    return f"{count} {lost}: no candidate can match them" if count else ""


def prompts_too_long(row: Row) -> str:
    count = row.get("test_too_long") or 0
    return f"{count} test prompts do not fit the model's context and count as misses" if count else ""


def shots_cut(row: Row) -> str:
    count = row.get("cut_examples") or 0
    return f"{count} test prompts have fewer shots than asked for: the model has no room for all" if count else ""


def training_too_long(row: Row) -> str:
    counts = {split: row.get(f"{split}_too_long") or 0 for split in ("train", "validation")}
    told = " and ".join(f"{count} of the {split} split" for split, count in counts.items() if count)
    return f"left out, since they exceed max_length or the model's context: {told}" if told else ""


def decoded_slowly(row: Row) -> str:
    path = row.get("decoding_path")
    if path not in ("plain", "alone") or not row.get("decoding_note"):
        return ""
    batches = " one prompt after the other" if path == "alone" else ""
    return f"decoded by generate of Transformers itself{batches}, which is slower ({row['decoding_note']})"


def duplicates(row: Row) -> str:
    count, total = row.get("exact_duplicates") or 0, row.get("test_examples")
    return f"{count} of {total} test instructions are also in the training split" if count and total else ""


def near_duplicates(row: Row) -> str:
    count, total = row.get("near_duplicates") or 0, row.get("test_examples")
    if not total or count <= (row.get("exact_duplicates") or 0):
        return ""
    return f"{count} of {total} test instructions are those of a training example, or nearly (cosine of 0.95 or more)"


WARNINGS: tuple[Callable[[Row], str], ...] = (
    diverged, learned_nothing, adapter_reload_differs, references_too_long, references_lost, prompts_too_long,
    shots_cut, training_too_long, duplicates, near_duplicates, decoded_slowly,
)  # fmt: skip


def warnings(rows: Sequence[Row]) -> list[str]:
    """One sentence for each kind of trouble and text, with the ids of the rows that have it."""
    found: dict[str, list[str]] = {}
    for check in WARNINGS:
        for row in rows:
            if text := check(row):
                found.setdefault(text, []).append(row["id"])
    return [*mixed(rows), *answers_cut(rows), *(f"{text}: {_some(ids, len(rows))}" for text, ids in found.items())]


MIXED: tuple[tuple[Callable[[Row], Any], str, str], ...] = (
    (data_of, "dataset_resolved_revision", "was loaded with different examples"),
    (tested_on, "test_resolved_revision", "was loaded with different test examples"),
    (lambda row: row.get("model"), "model_resolved_revision", "was loaded with different weights"),
    (tested_on, "sandbox_tier", "was judged in sandboxes of different tiers"),
)
"""What rows must share to be compared: what it is, the column that tells its versions apart, and what to say."""


def mixed(rows: Sequence[Row]) -> list[str]:
    """Sentences on rows that stand in one table and are not of the same data, weights or sandbox."""
    told = []
    for of, version, what in MIXED:
        groups: dict[Any, dict[Any, list[str]]] = {}
        for row in rows:
            if row.get(version):
                groups.setdefault(of(row), {}).setdefault(row[version], []).append(row["id"])
        for value, versions in groups.items():
            if len(versions) > 1:
                parts = "; ".join(f"{version} ({_some(ids, 0)})" for version, ids in versions.items())
                told.append(f"{value} {what}, so that these trials cannot be compared: {parts}")
    return told


def answers_cut(rows: Sequence[Row]) -> list[str]:
    """One sentence on all rows with many candidates that never ended, most first: their shares are all different."""
    shares = {row["id"]: row.get("candidates_cut") or 0 for row in rows}
    many = sorted((each for each in shares if shares[each] > MANY_CUT), key=lambda each: -shares[each])
    if not many:
        return []
    least, most = (f"{100 * shares[each]:.0f}" for each in (many[-1], many[0]))
    span = most if least == most else f"{least} to {most}"
    return [f"{span} % of the candidates reached max_new_tokens before they ended: {_some(many, len(rows))}"]


def _some(ids: Sequence[str], total: int) -> str:
    return "all trials" if len(ids) == total > 1 else some(ids)
