"""Sampled candidates whose noise belongs to the candidate, not to the batch it happens to be decoded in.

The uniform number that picks token t of candidate c for example e follows from (seed, e, c) alone, so the same trial
gives the same samples whatever the batch size, as far as the model's arithmetic itself does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from raypeft.decoding.stopping import first_nan


def noise(seed: int, example_id: str, candidate: int, length: int) -> np.ndarray:
    """`length` uniform numbers in [0, 1) that depend on seed, example and candidate only, by Philox counters."""
    key = hashlib.sha256(f"{seed}/{candidate}/{example_id}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "big"))).random(length)


class KeyedPicks(LogitsProcessor):
    """Picks each row's next token: by temperature, nucleus (Holtzman et al., arXiv 1904.09751) and given noise.

    It leaves `generate` nothing to choose: all scores but the picked token's are minus infinity, so greedy search
    follows. The log-probabilities that it keeps are the model's own, before temperature and nucleus.
    """

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
        self.log_probs: list[torch.Tensor] = []
        self.picked: list[torch.Tensor] = []
        """Of each step the tokens that were picked, (rows)."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        picked = scores.argmax(dim=-1, keepdim=True) if self.uniforms is None else self._sampled(input_ids, scores)
        self.picked.append(picked.squeeze(1))
        self.log_probs.append(scores.log_softmax(dim=-1).gather(1, picked).squeeze(1))
        return torch.full_like(scores, float("-inf")).scatter(1, picked, 0.0)

    def _sampled(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        assert self.uniforms is not None
        for warper in self.warpers:
            scores = warper(input_ids, scores)
        # The inverse of the distribution function, over tokens in the order of the vocabulary. In float64: float32
        # sums of a hundred thousand probabilities end visibly short of 1.
        reached = scores.double().softmax(dim=-1).cumsum(dim=-1)
        self.uniforms = self.uniforms.to(scores.device)  # once: a copy at each token would wait for the GPU
        uniform = self.uniforms[:, len(self.log_probs), None] * reached[:, -1:]
        return torch.searchsorted(reached, uniform, right=True).clamp(max=scores.shape[-1] - 1)

    @property
    def sums(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """(row, picked tokens) -> sum of their log-probabilities, after each step."""
        found = {}
        picked = torch.stack(self.picked, dim=1).tolist() if self.picked else []
        for row, tokens in enumerate(picked):
            for length in range(1, len(tokens) + 1):
                found[row, tuple(tokens[:length])] = self.sum_of(row, tokens[:length])
        return found

    def nan_step(self) -> int | None:
        """The first step, from 1, at which a score of some row was NaN. Fetched for all steps at once."""
        return first_nan(self.log_probs)

    def sum_of(self, row: int, tokens: Sequence[int]) -> float:
        """The sum of log-probabilities, in nats, of a row's tokens, its end included."""
        return sum(self._fetched[row][: len(tokens)])

    @cached_property
    def _fetched(self) -> list[list[float]]:
        """The log-probabilities of each row's tokens. Fetched for all at once: each fetch waits for the GPU."""
        return torch.stack(self.log_probs, dim=1).tolist() if self.log_probs else []
