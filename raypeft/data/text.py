"""Texts of examples, as they are compared."""


def plain(text: str) -> str:
    """A text without what does not tell two instructions apart: case, and the kind and amount of white space."""
    return " ".join(text.casefold().split())
