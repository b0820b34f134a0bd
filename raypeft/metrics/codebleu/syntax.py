"""Syntax of a program, for CodeBLEU: the shapes of its subtrees, which another program has or has not.

    from raypeft.metrics.codebleu.syntax import subtree_shapes
    shapes = {}
    subtree_shapes(program, shapes).keys() & subtree_shapes(other, shapes).keys()

A shape is what tree-sitter's S-expression of a subtree says: types and fields of the named nodes, without names and
values (arXiv 2009.10297, section 3.2; codebleu 0.7.0, syntax_match.py). The codebleu package prints every subtree and
looks it up in a list, which is quadratic twice over; here shapes are numbered from the leaves up, in linear time.
"""

from __future__ import annotations

import re
from collections import Counter

from raypeft.metrics.codebleu.tree import Node, Program

_PRINTED = re.compile(r"""\(UNEXPECTED (?:'(?:\\.|.)'|[^)]*)\)|\(MISSING (?:"[^"]*"|[^)]*)\)|\(comment\)|\(|\)""")
"""Items of an S-expression: leaves whose text may hold brackets, comments, and where other nodes open and close."""

Repairs = dict[Node, list[tuple[int, str]]]
"""Hidden tokens that the parser put in below a node: where among the shown children, and how they are printed."""

Shapes = dict[tuple[object, ...], int]
"""Numbers given to the shapes of subtrees seen so far; two programs are compared through a common one."""


def subtree_shapes(program: Program, shapes: Shapes) -> Counter[int]:
    """How often each shape of subtree occurs: the root's and those of all nodes with children.

    Two subtrees have one shape exactly when tree-sitter prints the same S-expression for both. `shapes` is added to.
    """
    repairs = _hidden_repairs(program)
    shown: dict[Node, tuple[object, ...]] = {}
    counts: Counter[int] = Counter()
    for node in reversed(program.nodes):
        below: list[object] = []
        for child in node.children:
            below.extend(shown.pop(child))
        for place, item in repairs.get(node, ()):
            below[2 * place : 2 * place] = (None, item)  # a shown child takes two entries
        shape = shapes.setdefault((node.label, node.named, *below), len(shapes))
        # A hidden node's own children are printed in its parent's place.
        shown[node] = (node.role, shape) if node.named else tuple(below)
        if node.children or node is program.nodes[0]:
            if node.type != node.label:  # by itself it is printed under another name
                shape = shapes.setdefault((node.type, node.named, *below), len(shapes))
            counts[shape] += 1
    return counts


def _hidden_repairs(program: Program) -> Repairs:
    """The tokens put in by the parser that only the S-expression shows, such as a newline between statements.

    Every other item of the expression is a named node, in pre-order, so both are walked side by side.
    """
    repairs: Repairs = {}
    if not program.expression:
        return repairs
    shown = [node for node in program.nodes if node.named]
    if program.expression.count("(MISSING ") == sum(node.label.startswith("(MISSING ") for node in shown):
        return repairs
    place = 0
    path: list[Node] = []
    children = [0]  # items printed so far at each level of the path
    for match in _PRINTED.finditer(program.expression):
        item = match.group()
        if item == ")":
            path.pop()
            children.pop()
        elif item != "(comment)" or program.comments:
            hidden = item.startswith("(MISSING ") and shown[place].label != item
            if hidden:
                repairs.setdefault(path[-1], []).append((children[-1], item))
            children[-1] += 1
            if item == "(":
                path.append(shown[place])
                children.append(0)
            if not hidden and place < len(shown) - 1:
                place += 1
    return repairs
