"""How a trial can end. A new status is one line here."""

from raypeft.records import Column, Status

STATUSES: dict[str, Status] = {
    each.name: each
    for each in (
        Status("ok", is_finished=True, is_fault=False, is_scored=True, has_answers=True),
        # This is a result as well: the same trial would run out of memory again.
        Status("oom", "the GPU ran out of memory", is_finished=True),
        Status("infeasible", "predicted not to fit in GPU memory", runs_again=True),
        # Only its scores are missing. `raypeft score` computes them.
        Status("generated", "not scored yet", is_finished=True, is_fault=False, has_answers=True),
        # A result of its search: settings that were not promising enough to be trained to the end.
        Status("pruned", "stopped early by the scheduler of its search", is_finished=True, is_fault=False),
        # The same trial would fail again, so it is only run again on demand (`--retry failed`).
        Status("failed"),
        Status("lost", "its process, its node or the results were lost", runs_again=True),
    )
}


def is_fault(status: str) -> bool:
    """Whether a trial with this status counts as a fault. An unknown status does."""
    return status not in STATUSES or STATUSES[status].is_fault


def is_settled(status: str) -> bool:
    """Whether a trial with this status is run again only on demand. One with an unknown status is not settled."""
    return status in STATUSES and not STATUSES[status].runs_again


def status_column() -> Column:
    """The column `status`. Its description lists all statuses."""
    names = [f"{each.name} ({each.description})" if each.description else each.name for each in STATUSES.values()]
    return Column("status", str, f"How the trial ended: {', '.join(names[:-1])} or {names[-1]}")
