"""How a trial can end. A new status is its line here."""

from raypeft.records import Column, Status

STATUSES: dict[str, Status] = {
    each.name: each
    for each in (
        Status("ok", is_finished=True, is_fault=False, is_scored=True),
        # A finding, too: the same trial would run out of memory again.
        Status("oom", "the GPU's memory ran out", is_finished=True),
        Status("infeasible", "predicted not to fit"),
        # It only needs its scores, which `raypeft score` computes.
        Status("generated", "not scored yet", is_finished=True, is_fault=False),
        Status("failed"),
    )
}


def is_fault(status: str) -> bool:
    """Whether a trial that ended so is a fault, as one is of which nobody knows the status."""
    return status not in STATUSES or STATUSES[status].is_fault


def status_column() -> Column:
    """The column `status`, described by the statuses that there are."""
    told = [f"{each.name} ({each.description})" if each.description else each.name for each in STATUSES.values()]
    return Column("status", str, f"{', '.join(told[:-1])} or {told[-1]}")
