"""Claims: statements that a sweep tests. Each form is a class in a file of this folder, and a line in `FORMS`."""

from raypeft.analysis.claims.better import Better
from raypeft.analysis.claims.claim import Claim
from raypeft.analysis.claims.equivalent import Equivalent
from raypeft.analysis.claims.optimum import Optimum
from raypeft.analysis.claims.ranked import Ranked
from raypeft.analysis.claims.saves import Saves
from raypeft.analysis.claims.stops_growing import StopsGrowing

FORMS: dict[str, type[Claim]] = {each.kind: each for each in (Saves, Better, Equivalent, Optimum, Ranked, StopsGrowing)}
"""By the key that names the form. `saves` has a key `better` as well, so it stands before that one."""
