"""Small sentence-transformers models with known vectors, and corpora for them."""

from pathlib import Path

import numpy as np

from raypeft.records import Example

NEW_ORDER = ["reverse the list `x`", "sort a dictionary by value", "read a file line by line", "open a file `f`"]


def examples_of(texts: list[str]) -> list[Example]:
    return [Example(f"train-{row}", text, "pass") for row, text in enumerate(texts)]


def make_model(folder: Path, weights: np.ndarray) -> Path:
    """Saves a sentence-transformers model under which the text `w3` has the direction of row 3 of an array."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({f"w{row}": row for row in range(len(weights))}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    module = StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))
    SentenceTransformer(modules=[module], device="cpu").save(str(folder), create_model_card=False)
    return folder


def corners(rows: int, dimension: int) -> np.ndarray:
    """Corners of a cube: so few directions that ties are everywhere, and run across the k-th place."""
    return np.random.default_rng(dimension).choice([-1.0, 1.0], size=(rows, dimension))


def gaussian_with_copies(rows: int, dimension: int) -> np.ndarray:
    random = np.random.default_rng(rows)
    weights = random.normal(size=(rows, dimension))
    weights[random.permutation(rows)[:40]] = weights[7]
    return weights
