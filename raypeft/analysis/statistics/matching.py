"""As many pairs as there are of which no two have anything in common.

largest_matching([(1, "a"), (1, "b"), (2, "a")])        # [(1, "b"), (2, "a")]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def largest_matching(pairs: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The pairs of a largest matching, where these are the edges of a bipartite graph (Hopcroft and Karp 1973, SIAM
    Journal on Computing 2, 225-231). The same pairs always give the same ones."""
    from scipy import sparse

    firsts, seconds = ([*dict.fromkeys(pair[side] for pair in pairs)] for side in (0, 1))
    graph = sparse.lil_array((len(firsts), len(seconds)), dtype=bool)
    for first, second in pairs:
        graph[firsts.index(first), seconds.index(second)] = True
    partners = sparse.csgraph.maximum_bipartite_matching(graph.tocsr(), perm_type="column")
    return [(firsts[place], seconds[partner]) for place, partner in enumerate(partners) if partner >= 0]
