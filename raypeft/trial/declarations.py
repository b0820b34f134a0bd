"""What this version of raypeft declares: the datasets, methods, scores and statuses that there are at this moment."""

from raypeft.data import DATASETS
from raypeft.methods import METHODS, Method
from raypeft.metrics.scoring import declared_scores
from raypeft.results.declarations import Declarations, DeclaredDataset, DeclaredMethod
from raypeft.results.statuses import STATUSES
from raypeft.study.config import Trial


def own_declarations() -> Declarations:
    """Everything that this version knows."""
    return Declarations(
        scores=tuple(declared_scores()),
        statuses=dict(STATUSES),
        datasets={
            name: DeclaredDataset(each.judged_by, each.levels, each.paper_stop, dict(each.decoding))
            for name, each in DATASETS.items()
        },
        methods={name: _declared(method) for name, method in METHODS.items()},
    )


def _declared(method: type[Method]) -> DeclaredMethod:
    infos = {**Trial.model_fields, **method.model_fields}
    fields = tuple(name for name in infos if name not in ("method", "name"))
    defaults = {name: infos[name].default for name in fields if not infos[name].is_required()}
    return DeclaredMethod(fields, defaults, method.trains)
