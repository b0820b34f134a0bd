"""Sampled candidates whose noise belongs to the candidate, not to the batch it happens to be decoded in.

The uniform number that picks token t of candidate c for example e follows from (seed, e, c) alone, so the same trial
gives the same samples whatever the batch size, as far as the model's arithmetic itself does.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


def noise(seed: int, example_id: str, candidate: int, length: int) -> np.ndarray:
    """`length` uniform numbers in [0, 1) that depend on seed, example and candidate only, by Philox counters."""
    key = hashlib.sha256(f"{seed}/{candidate}/{example_id}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "big"))).random(length)


class Picker:
    """Picks each row's next token: by temperature, nucleus (Holtzman et al., arXiv 1904.09751) and given noise."""

    def __init__(
        self, uniforms: np.ndarray | None, temperature: float = 1.0, top_p: float = 1.0, top_k: int | None = None
    ) -> None:
        """`uniforms` is (rows, max_new_tokens); None picks the likeliest token. `top_k` None keeps all tokens."""
        self.uniforms = None if uniforms is None else torch.from_numpy(uniforms)
        self.warpers: list[LogitsProcessor] = []
        if temperature != 1.0:
            self.warpers.append(TemperatureLogitsWarper(temperature))
        if top_k is not None:
            self.warpers.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            self.warpers.append(TopPLogitsWarper(top_p))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        """The tokens, (len(rows)), that follow at a step, from 0; `rows` are the places of the sequences in `uniforms`.

        `scores` are log-probabilities or logits, (len(rows), vocabulary).
        """
        if self.uniforms is None:
            return scores.argmax(dim=-1)
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        # The inverse of the distribution function, over tokens in the order of the vocabulary. In float64: float32
        # sums of a hundred thousand probabilities end visibly short of 1.
        reached = scores.double().softmax(dim=-1).cumsum(dim=-1)
        self.uniforms = self.uniforms.to(scores.device)  # once: a copy at each token would wait for the GPU
        uniform = self.uniforms[rows, step, None] * reached[:, -1:]
        return torch.searchsorted(reached, uniform, right=True).clamp(max=scores.shape[-1] - 1).squeeze(1)
