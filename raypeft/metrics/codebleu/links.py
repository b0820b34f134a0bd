"""From the links that a program's reading emits to data flows that can be compared across programs.

Used by `raypeft.metrics.codebleu.dataflow`; nothing here reads a syntax tree.

A link says that one occurrence of a variable comes from others. Occurrences that take no part in any link are
dropped, links of the same occurrence become one, and names are replaced by numbers in order of appearance, so that
renaming every variable changes nothing (arXiv 2009.10297, section 3.3; codebleu 0.7.0, `get_data_flow` and
`normalize_dataflow`). All orders are those of appearance, where the original takes those of hash sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

Flow = tuple[int, str, int]
"""(variable, relation, sources): the variable's number in its program, `comesFrom` or `computedFrom`, and
the number of the list of variables it comes from. Equal flows of two programs are matching data flow."""

Sources = dict[tuple[int, ...], int]
"""Numbers given to the lists of source variables seen so far; two programs are compared through a common one."""


class Link(NamedTuple):
    """One occurrence of a variable and where its value comes from."""

    token: int
    name: str
    relation: str
    names: tuple[str, ...]
    """The variables it comes from, and in `tokens` where they stand. Links may share these tuples."""
    tokens: tuple[int, ...]


def sort_links(links: Iterable[Link]) -> list[Link]:
    """In order of the occurrences; those of one occurrence stay in the order of their making."""
    return sorted(links, key=attrgetter("token"))


def merge_rereads(links: Iterable[Link]) -> list[Link]:
    """One link for each occurrence and relation, in order: what the readings of a loop found, together."""
    unions = _Unions()
    merged: dict[tuple[int, str], Link] = {}
    for link in links:
        before = merged.get((link.token, link.relation))
        merged[link.token, link.relation] = link if before is None else unions.join(before, link)
    return sort_links(merged.values())


def count_flows(links: Iterable[Link], sources: Sources) -> Counter[Flow]:
    """How often each flow occurs in a program's sorted links."""
    numbers: dict[str, int] = {}
    known: dict[int, int] = {}  # by identity of a tuple of names, which `kept` keeps alive
    flows: Counter[Flow] = Counter()
    kept = _one_per_occurrence(_connected(links))
    for link in kept:
        origin = known.get(id(link.names))
        if origin is None:
            # A name's number never changes, so a tuple of names seen before has the same sources again.
            listed = tuple(numbers.setdefault(name, len(numbers)) for name in link.names)
            origin = known[id(link.names)] = sources.setdefault(listed, len(sources))
        flows[numbers.setdefault(link.name, len(numbers)), link.relation, origin] += 1
    return flows


def _connected(links: Iterable[Link]) -> list[Link]:
    """The links of occurrences that come from another or that another comes from."""
    links = list(links)
    used: set[int] = set()
    seen: set[int] = set()
    for link in links:
        if link.tokens:
            used.add(link.token)
            if id(link.tokens) not in seen:
                seen.add(id(link.tokens))
                used.update(link.tokens)
    return [link for link in links if link.token in used]


def _one_per_occurrence(links: Iterable[Link]) -> list[Link]:
    """Links of one occurrence made one; the last one names the relation, as in the original."""
    unions = _Unions()
    merged: dict[int, Link] = {}
    for link in links:
        before = merged.get(link.token)
        merged[link.token] = link if before is None else unions.join(before, link)
    return list(merged.values())


class _Unions:
    """Joins links, and remembers the unions made: thousands of links may share one list of thousands of names."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], tuple[Link, Link, Link]] = {}

    def join(self, before: Link, link: Link) -> Link:
        """`link` with the origins of `before` put in front of its own, each once."""
        key = id(before.names), id(link.names), id(before.tokens), id(link.tokens)
        known = self._known.get(key)
        if known is None:
            joined = link._replace(
                names=tuple(dict.fromkeys(before.names + link.names)),
                tokens=tuple(sorted({*before.tokens, *link.tokens})),
            )
            # Both parts are kept too: an identity means something only while its object lives.
            known = self._known[key] = (joined, before, link)
        return Link(link.token, link.name, link.relation, known[0].names, known[0].tokens)
