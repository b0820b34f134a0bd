"""Where each variable was last defined, for CodeBLEU's data flow, with changes that can be taken back.

Used by `raypeft.metrics.codebleu.dataflow`, which reads the branches of an `if` one after another from the same
definitions. Changes are logged and undone, because copying all definitions at every branch would make a program
of many variables and many branches take quadratic time.
"""

from __future__ import annotations

Tokens = tuple[int, ...]
"""Numbers of a program's tokens, in order."""


class Definitions:
    """Where each variable was last defined: token numbers, several after a branch. Changes can be taken back."""

    def __init__(self) -> None:
        self.tokens: dict[str, Tokens] = {}
        self.signature = 0
        """Equal for equal definitions, and cheap to keep up to date: what a loop's reading is remembered by."""
        self._log: list[tuple[str, Tokens | None]] = []

    def set(self, name: str, tokens: Tokens) -> None:
        before = self.tokens.get(name)
        if before != tokens:
            self._log.append((name, before))
            self._replace(name, before, tokens)

    def mark(self) -> int:
        return len(self._log)

    def changes(self, mark: int) -> dict[str, Tokens]:
        """The present definitions of the variables changed since `mark`."""
        return {name: self.tokens[name] for name, _ in self._log[mark:]}

    def apply(self, changes: dict[str, Tokens]) -> None:
        for name, tokens in changes.items():
            self.set(name, tokens)

    def roll_back(self, mark: int) -> None:
        while len(self._log) > mark:
            name, before = self._log.pop()
            self._replace(name, self.tokens[name], before)

    def _replace(self, name: str, before: Tokens | None, after: Tokens | None) -> None:
        self.signature ^= hash((name, before)) ^ hash((name, after))
        if after is None:
            del self.tokens[name]
        else:
            self.tokens[name] = after
