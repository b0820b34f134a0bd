"""A program's source as code, within the sandbox. Some solutions have a `return` at the top level.

    code = compile_program("n = int(input())\nif n:\n    print(n)\n    return\n")

Raises what `compile` raises: SyntaxError, ValueError, RecursionError, MemoryError and others.
"""

from __future__ import annotations

import ast
import types

NAME = "program.py"


def compile_program(source: str) -> types.CodeType:
    """The program's code. One with a top-level `return`, which some solutions have, becomes a function's body."""
    source = source.removeprefix("\ufeff")
    try:
        return compile(source, NAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        if "'return' outside function" not in str(error):
            raise
    return compile(_as_function(ast.parse(source)), NAME, "exec", dont_inherit=True)


def _as_function(tree: ast.Module) -> ast.Module:
    """Its statements as a called function that shares the module's names: helpers with `global` go on working."""
    hoisted = [
        node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.names[0].name == "*" or not node.level)
    ]
    hoisted = [node for node in hoisted if node.names[0].name == "*" or node.module == "__future__"]
    body: list[ast.stmt] = [node for node in tree.body if node not in hoisted]
    names = sorted(_bound_names(body))
    if names:
        body.insert(0, ast.Global(names))
    function = ast.parse("def __program__(): pass\n__program__()")
    definition = function.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = body or definition.body
    function.body[:0] = hoisted
    return ast.fix_missing_locations(function)


def _bound_names(body: list[ast.stmt]) -> set[str]:
    """The names that statements bind in their own scope, not in those of functions, classes and comprehensions."""
    names: set[str] = set()
    pending: list[ast.AST] = list(body)
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            walrus = (inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
            names |= {inner.target.id for inner in walrus}
        elif not isinstance(node, scopes):
            pending += ast.iter_child_nodes(node)
    return names
