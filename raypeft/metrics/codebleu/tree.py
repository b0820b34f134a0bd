"""Programs as plain trees, for CodeBLEU: parse once, then read off syntax and data flow.

    from raypeft.metrics.codebleu.tree import read_program
    program = read_program("x = f(y)  # why", Reading.CORRECTED)
    [token.text for token in program.tokens]       # ['x', '=', 'f', '(', 'y', ')']

tree-sitter does the parsing. It accepts any bytes, so every text has a tree, with ERROR nodes where it is not
Python. This module copies the tree into Python objects without recursion: fifty thousand nested brackets are
read like any other program. The two readings differ in comments (left out of the tree, or cut out of the text by
Java's rules first) and in where a token's text is looked up (`_shifted_text`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

import tree_sitter
import tree_sitter_python
from codebleu.parser.utils import remove_comments_and_docstrings

from raypeft.metrics.readings import Reading

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))
"""One parser for the process; making one for every corpus, as the codebleu package does, takes time."""

_MAX_PRINTED_DEPTH = 1000
"""Levels up to which a damaged program is printed as an S-expression: tree-sitter does it by C recursion."""

_EXTRA_TYPES = frozenset({"ERROR", "comment", "line_continuation"})
"""Nodes that may stand anywhere in a program."""

STRING_TYPES = frozenset({"string", "string_literal", "character_literal"})
"""Nodes that count as one token whatever they contain (CodeBLEU's `tree_to_token_index`)."""


@dataclass(slots=True, eq=False)
class Node:
    """A syntax node. Its children include the anonymous ones: keywords, brackets, operators."""

    type: str
    label: str
    """Its name in its parent's S-expression: the type, or what the parser found missing or unexpected there."""
    role: str | None
    """The grammar's name for its place in the parent, such as `left`."""
    named: bool
    """Whether an S-expression shows it."""
    start: int
    end: int
    """Where it stands, in bytes from the program's start."""
    children: list[Node] = field(default_factory=list)
    index: int = -1
    """A token's number, or -1. Tokens of no width at the same place share the last one's number."""
    text: str = ""
    """A token's text; empty for other nodes."""
    first_token: int = 0
    last_token: int = 0
    """The tokens at and below this node are `program.tokens[first_token:last_token]`."""

    def child(self, name: str) -> Node | None:
        """The first child in the grammar's field `name`, if there is one."""
        for child in self.children:
            if child.role == name:
                return child
        return None


@dataclass(slots=True, eq=False)
class Program:
    """A parsed program. `nodes` is in pre-order, so a parent comes before its children and the root first."""

    nodes: list[Node]
    tokens: list[Node]
    depth: int
    """Levels of the tree, 1 for a root alone."""
    expression: str
    """tree-sitter's S-expression of a damaged program; empty for a sound one and for one past `_MAX_PRINTED_DEPTH`."""
    comments: bool
    """Whether comments are in the tree."""


def read_program(text: str, reading: Reading) -> Program:
    """Parse any string at all, lone surrogates and NULs included. In the paper's readings by its rules."""
    text = text.strip()
    paper = reading is not Reading.CORRECTED
    if reading is Reading.PAPER_RQ2:
        text = without_java_comments(text)
    elif paper:
        text = without_python_comments(text)
    # A lone surrogate has no UTF-8 form. The "?" put in its place is no Python either.
    code = text.encode("utf-8", "replace")
    tree = _PARSER.parse(code)
    nodes, depth = _copy_tree(tree, paper)
    tokens = _number_tokens(nodes)
    if paper:
        _shifted_text(tokens, text, code)
    else:
        for token in tokens:
            token.text = code[token.start : token.end].decode("utf-8", "replace")
    printed = tree.root_node.has_error and depth <= _MAX_PRINTED_DEPTH
    return Program(nodes, tokens, depth, str(tree.root_node) if printed else "", comments=paper)


def _copy_tree(tree: tree_sitter.Tree, paper: bool) -> tuple[list[Node], int]:
    """All nodes in pre-order, and the depth. With a cursor: recursion would end at about a thousand levels."""
    cursor = tree.walk()
    nodes: list[Node] = []
    path: list[tuple[Node, tree_sitter.Node]] = []
    depth = 1
    while True:
        raw = cursor.node
        assert raw is not None  # a cursor always stands on a node
        kind = raw.type
        if paper or kind != "comment":
            node = _copy_node(raw, kind, cursor.field_name)
            nodes.append(node)
            if path:
                parent, raw_parent = path[-1]
                parent.children.append(node)
                if paper and kind in _EXTRA_TYPES and raw.is_extra and _is_renamed(parent, raw_parent):
                    node.type = parent.type
            if cursor.goto_first_child():
                path.append((node, raw))
                depth = max(depth, len(path) + 1)
                continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return nodes, depth
            path.pop()


def _is_renamed(node: Node, raw: tree_sitter.Node) -> bool:
    """Whether the grammar calls `node` by another name than its own where it stands.

    tree-sitter 0.22's `Node.children` then gives that name to errors and comments right below it too, and theirs to
    those below them; the package walks by `children`, so its numbers have it.
    """
    return node.type != raw.type or raw.type != raw.grammar_name


def _copy_node(raw: tree_sitter.Node, kind: str, field_name: str | None) -> Node:
    start, end = raw.start_byte, raw.end_byte
    if start == end and raw.is_missing:
        # The parser put it in to repair the program, and shows it whether or not the grammar names it.
        return Node(kind, str(raw), field_name, True, start, end)
    if kind == "ERROR" and raw.child_count == 0:
        printed = str(raw)  # tells the unexpected character, if there is one
        return Node(kind, kind if printed == "(ERROR)" else printed, field_name, True, start, end)
    return Node(kind, kind, field_name, raw.is_named, start, end)


def _number_tokens(nodes: list[Node]) -> list[Node]:
    """Find the tokens: leaves and whole strings, but neither comments nor the parts of a string.

    Sets `index` on tokens and the token range on all nodes; the tokens come back in order of the text.
    """
    tokens: list[Node] = []
    inside = 0  # nodes still to come that are parts of the string last seen
    for node in nodes:
        node.first_token = node.last_token = len(tokens)
        if inside:
            inside += len(node.children) - 1
        elif node.type in STRING_TYPES or not (node.children or node.type == "comment"):
            inside = len(node.children)
            tokens.append(node)
            node.last_token += 1
    for node in reversed(nodes):
        if node.children and node.type not in STRING_TYPES:
            node.last_token = node.children[-1].last_token
    last_at = {(token.start, token.end): index for index, token in enumerate(tokens)}
    for token in tokens:
        token.index = last_at[token.start, token.end]
    return tokens


def _shifted_text(tokens: list[Node], text: str, code: bytes) -> None:
    """Set the tokens' text as the original CodeBLEU finds it, which is wrong on lines that are not ASCII.

    tree-sitter counts columns in bytes; `index_to_code_token` (codebleu 0.7.0, parser/utils.py) takes them for
    characters, so every token to the right of a non-ASCII character is misread. Newlines are dropped.
    """
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in code.split(b"\n"))]
    for token in tokens:
        row = bisect_right(starts, token.start) - 1
        end_row = bisect_right(starts, token.end) - 1
        left, right = token.start - starts[row], token.end - starts[end_row]
        if row == end_row:
            token.text = lines[row][left:right]
        else:
            token.text = "".join([lines[row][left:], *lines[row + 1 : end_row], lines[end_row][:right]])


_LONGEST_LINE = 4_000


def without_python_comments(text: str) -> str:
    """Cut `text` as codebleu 0.7.0 does: comments and leading strings, unless Python cannot tokenise it.

    A text with a line of more than 4,000 characters stays whole: the tokenizer takes quadratic time for a line in which
    quotes never close.
    """
    if max(map(len, text.split("\n"))) > _LONGEST_LINE:
        return text
    try:
        return str(remove_comments_and_docstrings(text, "python"))
    except Exception:  # as the package has it: whatever the tokenizer raises
        return text


_JAVA_START = re.compile(r"//|/\*|'|\"")
_JAVA_QUOTE_END = {quote: re.compile(rf"(?:[^\\{quote}]|\\.)*{quote}", re.DOTALL) for quote in "'\""}


def without_java_comments(text: str) -> str:
    """Cut `text` by Java's comment rules, as the paper's CodeBLEU did to Python, then drop blank lines.

    `//` to the line's end (so floor division too) and `/* */` become one space; what stands in quotes is kept.
    Source: the rule that `remove_comments_and_docstrings` (codebleu 0.7.0, parser/utils.py) has for Java. Written as
    a scanner, because its pattern takes quadratic time on text with many openings that never close.
    """
    kept: list[str] = []
    done = position = 0
    unclosed: set[str] = set()
    while (opening := _JAVA_START.search(text, position)) is not None:
        position = opening.end()
        mark = opening.group()
        if mark in unclosed:
            continue
        end = _java_end(text, mark, position)
        if end is None:
            # Then no later opening of the kind closes either: quotes met so far in the rest are all escaped.
            unclosed.add(mark)
            continue
        if mark[0] == "/":
            kept += [text[done : opening.start()], " "]
            done = end
        position = end
    kept.append(text[done:])
    return "\n".join(line for line in "".join(kept).split("\n") if line.strip())


def _java_end(text: str, mark: str, position: int) -> int | None:
    """Where the comment or string that `mark` opens just before `position` ends; None if it never does."""
    if mark == "//":
        newline = text.find("\n", position)
        return len(text) if newline < 0 else newline
    if mark == "/*":
        close = text.find("*/", position)
        return None if close < 0 else close + 2
    match = _JAVA_QUOTE_END[mark].match(text, position)
    return None if match is None else match.end()
