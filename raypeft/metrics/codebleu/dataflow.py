"""Data flow of a program, for CodeBLEU: which variable's value comes from which others.

    from raypeft.metrics.codebleu.dataflow import data_flow
    sources = {}
    data_flow(read_program("b = a", "corrected"), "corrected", sources)

The rules are those of CodeBLEU's `DFG_python` (arXiv 2009.10297, section 3.3; codebleu 0.7.0), odd ones included,
because a score is comparable only under them: `a.b = c.d` also links the dots, a loop with an `else` hides its
body, a loop is read twice. What differs is how they are carried out:

- The original keeps names in hash-ordered sets, so its score moves with PYTHONHASHSEED. Here the order is that
  of first appearance.
- The original recurses, and reads loops nested n deep 2**n times. Here the stack is explicit, and a loop inside
  a loop is read once for each different set of definitions that reaches it.
- The original gives a program no data flow at all after an exception inside it. The paper's reading does so in
  the same places (`x, y, z = "a"`; nesting past Python's stack); the corrected reading goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from raypeft.metrics.codebleu.definitions import Definitions, Tokens
from raypeft.metrics.codebleu.links import Flow, Link, Sources, count_flows, merge_rereads, sort_links
from raypeft.metrics.codebleu.tree import STRING_TYPES, Node, Program
from raypeft.metrics.readings import Reading

_MAX_DEPTH = 993
"""Levels of the deepest tree from which codebleu 0.7.0, called by a plain script, reads data flow; past it Python's
recursion limit of 1000 ends its walk (measured with `y = x + x + ...`)."""

_MAX_LINKS = 2_000_000
"""Token-to-token links past which a program counts as having no data flow, so that `a = a = ... = a` over 100 kB
does not take gigabytes. Our choice; written programs have a few links a token."""

_Step = Callable[[], None]


class _Abandoned(Exception):
    """This reading gives the program no data flow."""


def data_flow(program: Program, reading: Reading, sources: Sources) -> Counter[Flow]:
    """How often each flow occurs in `program`. `reading` is that of `raypeft.metrics.codebleu.score`.

    Empty for a program without flow, and for one past the limits above (depth: in the readings of the originals only).
    """
    paper = reading is not Reading.CORRECTED
    if paper and program.depth > _MAX_DEPTH:
        return Counter()
    try:
        links = _Walk(program, paper).run()
    except _Abandoned:
        return Counter()
    return count_flows(links, sources)


@dataclass(slots=True)
class _Fork:
    """An `if` statement being read: what each of its branches defined."""

    mark: int
    has_else: bool = False
    first: dict[str, Tokens] = field(default_factory=dict)
    others: list[dict[str, Tokens]] = field(default_factory=list)


class _Walk:
    """One reading of a program, in the order of the rules, with the pending nodes and steps on a stack."""

    def __init__(self, program: Program, paper: bool) -> None:
        self.program = program
        self.paper = paper
        self.links: list[Link] = []
        self.defined = Definitions()
        self._stack: list[Node | _Step] = [program.nodes[0]]
        self._link_count = 0
        self._open_loops = 0
        self._read_loops: dict[tuple[Node, int], tuple[list[Link], dict[str, Tokens]]] = {}

    def run(self) -> list[Link]:
        """All links, sorted by occurrence. Raises _Abandoned."""
        while self._stack:
            item = self._stack.pop()
            if not isinstance(item, Node):
                item()
            elif item.index >= 0:
                self._token(item)
            elif item.children:
                rule = _RULES.get(item.type, _Walk._other)
                rule(self, item)
        return sort_links(self.links)

    def _then(self, *items: Node | _Step) -> None:
        self._stack.extend(reversed(items))

    def _emit(self, token: Node, relation: str, names: tuple[str, ...], tokens: Tokens) -> None:
        self.links.append(Link(token.index, token.text, relation, names, tokens))

    def _variables(self, node: Node) -> list[Node]:
        """The tokens below `node` but keywords and signs, whose type is their text."""
        tokens = self.program.tokens[node.first_token : node.last_token]
        return [token for token in tokens if token.type != token.text]

    def _token(self, token: Node) -> None:
        name = token.text
        if token.type == name:
            return
        tokens = self.defined.tokens.get(name)
        if tokens is not None:
            self._emit(token, "comesFrom", (name,), tokens)
            return
        if token.type == "identifier":
            self.defined.set(name, (token.index,))
        self._emit(token, "comesFrom", (), ())

    def _other(self, node: Node) -> None:
        # A comprehension's `for` defines what the expression before it uses.
        early = [child for child in node.children if child.type == "for_in_clause"]
        self._then(*early, *(child for child in node.children if child.type != "for_in_clause"))

    def _damaged(self, node: Node) -> None:
        """A statement without a part it needs: the original fails here, the corrected reading reads what is there."""
        if self.paper:
            raise _Abandoned
        self._other(node)

    def _default_parameter(self, node: Node) -> None:
        name, value = node.child("name"), node.child("value")
        if name is None:
            self._damaged(node)
        elif value is None:
            for token in self._variables(name):
                self._emit(token, "comesFrom", (), ())
                self.defined.set(token.text, (token.index,))
        else:
            self._then(value, partial(self._link_default, name, value))

    def _link_default(self, name: Node, value: Node) -> None:
        origins = self._variables(value)
        for token in self._variables(name):
            self._count_links(len(origins))
            for origin in origins:
                self._emit(token, "comesFrom", (origin.text,), (origin.index,))
            self.defined.set(token.text, (token.index,))

    def _assignment(self, node: Node) -> None:
        if node.child("right") is None:
            return  # an annotation alone defines nothing
        pairs = self._pairs(node)
        if pairs is None:
            self._damaged(node)
        else:
            self._then(*(right for _, right in pairs), partial(self._link, pairs))

    def _for_in_clause(self, node: Node) -> None:
        left = node.child("left")
        if left is None:
            self._damaged(node)
        else:
            self._then(node.children[-1], partial(self._link, [(left, node.children[-1])]))

    def _pairs(self, node: Node) -> list[tuple[Node, Node]] | None:
        """What is assigned to what: part by part when both sides have as many parts, else side to side."""
        left, right = node.child("left"), node.child("right")
        if left is None or right is None:
            return None
        left_parts = [part for part in left.children if part.type != ","]
        right_parts = [part for part in right.children if part.type != ","]
        if not left_parts or len(left_parts) != len(right_parts):
            return [(left, right)]
        if left.type in STRING_TYPES or right.type in STRING_TYPES:
            # A string's quotes and content are no tokens; the original fails when it looks them up.
            if self.paper:
                raise _Abandoned
            return [(left, right)]
        return list(zip(left_parts, right_parts, strict=True))

    def _link(self, pairs: list[tuple[Node, Node]]) -> None:
        for left, right in pairs:
            origins = self._variables(right)
            self._count_links(len(origins))
            names = tuple(token.text for token in origins)
            tokens = tuple(token.index for token in origins)
            for token in self._variables(left):
                self._emit(token, "computedFrom", names, tokens)
                self.defined.set(token.text, (token.index,))

    def _count_links(self, count: int) -> None:
        self._link_count += count
        if self._link_count > _MAX_LINKS:
            raise _Abandoned

    def _if(self, node: Node) -> None:
        fork = _Fork(self.defined.mark())
        for child in node.children:
            fork.has_else |= "else" in child.type
        steps: list[Node | _Step] = []
        for child in node.children:
            if child.type in ("elif_clause", "else_clause"):
                steps += [partial(self._enter_branch, fork), child, partial(self._leave_branch, fork)]
            else:
                steps.append(child)
        self._then(*steps, partial(self._join, fork))

    def _enter_branch(self, fork: _Fork) -> None:
        fork.first = self.defined.changes(fork.mark)
        self.defined.roll_back(fork.mark)

    def _leave_branch(self, fork: _Fork) -> None:
        fork.others.append(self.defined.changes(fork.mark))
        self.defined.roll_back(fork.mark)
        self.defined.apply(fork.first)

    def _join(self, fork: _Fork) -> None:
        """After the statement a variable may have been defined in any branch, or before it."""
        branches = [*fork.others, self.defined.changes(fork.mark)]
        self.defined.roll_back(fork.mark)
        if not fork.has_else:
            branches.append({})
        found: dict[str, list[Tokens]] = {}
        for branch in branches:
            for name, tokens in branch.items():
                found.setdefault(name, []).append(tokens)
        for name, definitions in found.items():
            if len(definitions) < len(branches):
                definitions.append(self.defined.tokens.get(name, ()))
            self.defined.set(name, tuple(sorted({token for tokens in definitions for token in tokens})))

    def _for(self, node: Node) -> None:
        pairs = self._pairs(node)
        if pairs is None:
            self._damaged(node)
            return
        body = [child for child in node.children[-1:] if child.type == "block"]
        steps: list[Node | _Step] = [*(right for _, right in pairs), partial(self._link, pairs), *body]
        self._loop(node, steps)

    def _while(self, node: Node) -> None:
        self._loop(node, node.children)

    def _loop(self, node: Node, steps: Sequence[Node | _Step]) -> None:
        known = self._read_loops.get((node, self.defined.signature))
        if known is not None:
            self.links.extend(known[0])
            self.defined.apply(known[1])
            return
        end = partial(self._end_loop, node, self.defined.signature, self.defined.mark(), len(self.links))
        self._open_loops += 1
        self._then(*steps, *steps, end)  # twice: the first time round, and with what the first time defined

    def _end_loop(self, node: Node, signature: int, mark: int, start: int) -> None:
        self._open_loops -= 1
        self.links[start:] = merge_rereads(self.links[start:])
        if self._open_loops:
            self._read_loops[node, signature] = self.links[start:], self.defined.changes(mark)


_RULES: dict[str, Callable[[_Walk, Node], None]] = {
    "default_parameter": _Walk._default_parameter,
    "assignment": _Walk._assignment,
    "augmented_assignment": _Walk._assignment,
    "for_in_clause": _Walk._for_in_clause,
    "if_statement": _Walk._if,
    "for_statement": _Walk._for,
    "while_statement": _Walk._while,
}
