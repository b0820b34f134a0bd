"""Where a generated candidate ends, and how likely the model finds it.

    ends = Ends(tokenizer, stop=["\\n"])
    tokens, text, reason = ends.cut(generated_ids, prompt_ids)

`generate` of Transformers gives log-probabilities of candidates only together with every step's scores of the whole
vocabulary (2 GB for one batch of a small model); `BeamScores` listens to the search instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import torch
from transformers import LogitsProcessor, StoppingCriteria, StopStringCriteria

from raypeft.decoding.opening import FENCE, Opening

PAPER_ENDS = ("<|endoftext|>", "</s>")
"""Stop strings of every program of the paper (replication package, commits e7971c0 and 3b31320), which looked for them
in texts with special tokens."""
TAIL = 8
"""Last tokens of a prompt with which an answer is decoded. One with text is enough; a character may have four."""


class Ends:
    """What ends a candidate: an end-of-sequence token, or the first of some strings, which is cut off.

    `end_ids` are such tokens; None: the tokenizer's own. A stop string is looked for after the `opening` of an answer,
    which is left out of its text; where it has opened a code fence, the closing one ends the answer as well. With
    `skip_blanks` the white space that an answer begins with ends nothing, but stays in the text: the paper's code
    stripped a text before it cut it (RQ2, replication package, commit e7971c0).
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Sequence[str] = (),
        end_ids: Sequence[int] | None = None,
        skip_blanks: bool = False,
        opening: Opening | None = None,
    ) -> None:
        if not all(stop):
            raise ValueError(f"stop strings must have at least one character but got {list(stop)!r}")
        self.tokenizer = tokenizer
        self.stop = tuple(stop)
        self.skip_blanks = skip_blanks
        self.opening = opening
        self.end_ids = [tokenizer.eos_token_id] if end_ids is None else [*end_ids]

    def criteria(self, start: int) -> list[StoppingCriteria]:
        """What `generate` asks at every step; answers begin at position `start` of its sequences."""
        if not self.stop:
            return []
        return [StopAfterOpening(self, start) if self.opening else self.strings]

    @cached_property
    def strings(self) -> StopStringCriteria:
        """Looks for stop strings at the end of sequences. To make it takes half a second at 49,000 tokens."""
        return StopStringCriteria(self.tokenizer, [*dict.fromkeys([*self.stop, *([FENCE] if self.opening else [])])])

    def has_stop(self, tokens: list[int]) -> bool:
        """Whether the text of these tokens has a stop string."""
        return self._split(tokens)[1] is not None

    def shows_stop(self, tokens: list[int]) -> bool:
        """Whether the paper's code would have stopped here: at a stop string, or at the name of an end token."""
        text = str(self.tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
        return any(string in text for string in (*self.stop, *PAPER_ENDS))

    def cut(self, tokens: list[int], prompt: Sequence[int] = ()) -> tuple[list[int], str, str]:
        """The tokens up to the end, their text without the stop string, and why it ends: `eos`, `stop` or `length`.

        The text is decoded as the continuation of `prompt`: by itself SentencePiece's decoder takes the first space of
        a text away, and with it a blank of an indented line.
        """
        before = [*prompt][-TAIL:]
        reason = "length"
        ended = next((place for place, token in enumerate(tokens) if token in self.end_ids), None)
        if ended is not None:
            tokens, reason = tokens[: ended + 1], "eos"
        text, end = self._split(tokens, before)
        if end is None:
            return tokens, text, reason
        # The shortest beginning whose text has a stop string: a token may hold the string in its middle.
        low, high = 1, len(tokens)
        while low < high:
            middle = (low + high) // 2
            has_stop = self._split(tokens[:middle], before)[1] is not None
            low, high = (low, middle) if has_stop else (middle + 1, high)
        return tokens[:low], text[:end], "stop"

    def kept(self, answer: str) -> str:
        """What is left of an answer that a model gives: without its opening, up to its first stop string."""
        text, end = self._split_text(answer)
        return text[:end]

    def _split(self, tokens: list[int], before: list[int] | None = None) -> tuple[str, int | None]:
        """The text of an answer after its opening, and where its first stop string begins in it, if it has one."""
        text = self._text(tokens)
        if before:
            head, whole = self._text(before), self._text([*before, *tokens])
            text = whole[len(head) :] if whole.startswith(head) else text
        return self._split_text(text)

    def _split_text(self, text: str) -> tuple[str, int | None]:
        stop = self.stop
        if self.opening:
            length, fenced = self.opening.skip(text)
            text, stop = text[length:], (*stop, FENCE) if fenced else stop
        begin = len(text) - len(text.lstrip()) if self.skip_blanks else 0
        places = (text.find(string, begin) for string in stop)
        return text, min((place for place in places if place >= 0), default=None)

    def _text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class StopAfterOpening(StoppingCriteria):
    """Ends an answer at a stop string after its opening. Only rows whose last token has one are looked at closer."""

    def __init__(self, ends: Ends, start: int) -> None:
        self.ends, self.start = ends, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        done = torch.as_tensor(self.ends.strings(input_ids, scores))
        for row in done.nonzero().flatten().tolist():
            done[row] = self.ends.has_stop(input_ids[row, self.start :].tolist())
        return done


class SearchListener:
    """What hears a search and is asked afterwards what it heard."""

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: PEFT copies what `generate` is given for an encoder-decoder with prompt tuning."""
        return self


class BeamScores(SearchListener, LogitsProcessor, StoppingCriteria):
    """Sums the log-probabilities of beam search's candidates as it goes: it is both asked at every step.

    As a processor it sees the running beams with the scores of their next tokens, as a criterion the continuations that
    the search has chosen from these; each continues one running beam of its example.
    """

    def __init__(self, num_beams: int, prompt_length: int) -> None:
        self.num_beams, self.prompt_length = num_beams, prompt_length
        self.steps: list[tuple[torch.Tensor, torch.Tensor]] = []
        """For each step the continuations that were chosen, (examples, continuations, generated tokens), and the sums
        of their log-probabilities, (examples, continuations). They stay on the device until they are asked for."""
        self.running = self.scores = self.so_far = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, scores: Any) -> Any:
        # Asked as a criterion, `scores` is what generate collects of all steps: nothing.
        return self._listen(input_ids, scores) if isinstance(scores, torch.Tensor) else self._chosen(input_ids)

    def _listen(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        generated = input_ids[:, self.prompt_length :]
        examples = len(generated) // self.num_beams
        self.running = generated.reshape(examples, self.num_beams, generated.shape[1])
        self.scores = scores.reshape(examples, self.num_beams, -1)
        if self.steps:  # each running beam is one of the continuations that were chosen last
            chosen, sums = self.steps[-1]
            self.so_far = sums.gather(1, _places(self.running, chosen))
        else:
            self.so_far = scores.new_zeros(examples, self.num_beams, dtype=torch.float32)
        return scores

    def _chosen(self, input_ids: torch.Tensor) -> torch.Tensor:
        examples, _, length = self.running.shape
        continuations = len(input_ids) // examples
        chosen = input_ids[:, self.prompt_length :].reshape(examples, continuations, length + 1)
        parent = _places(chosen[:, :, :-1], self.running)
        each = torch.arange(examples, device=input_ids.device)[:, None]
        sums = self.so_far[each, parent] + self.scores[each, parent, chosen[:, :, -1]]
        self.steps.append((chosen, sums))
        self.scores = self.so_far  # those of the whole vocabulary are not held while the model computes the next ones
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    @property
    def sums(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """(example, generated tokens) -> sum of log-probabilities, of every continuation that was ever chosen."""
        return {
            (example, tuple(beam)): value
            for chosen, sums in self.steps
            for example, (beams, values) in enumerate(zip(chosen.tolist(), sums.tolist(), strict=True))
            for beam, value in zip(beams, values, strict=True)
        }

    def nan_step(self) -> int | None:
        """The first step, from 1, at which a score of some beam was NaN. Fetched for all steps at once."""
        return first_nan([sums for _, sums in self.steps])

    def sum_of(self, example: int, tokens: Sequence[int]) -> float | None:
        """The sum of log-probabilities, in nats, of a candidate's tokens, its end included."""
        if not 0 < len(tokens) <= len(self.steps):
            return None
        step = len(tokens) - 1
        chosen, sums = self.steps[step] = tuple(each.cpu() for each in self.steps[step])  # type: ignore[assignment]
        same = (chosen[example] == torch.tensor(tokens)).all(dim=-1).nonzero()
        return float(sums[example, same[-1, 0]]) if len(same) else None


def first_nan(steps: Sequence[torch.Tensor]) -> int | None:
    """The first of the steps, from 1, that has a NaN. None: no step has one."""
    if not steps:
        return None
    broken = torch.stack([each.isnan().any() for each in steps]).nonzero()
    return int(broken[0]) + 1 if len(broken) else None


def _places(wanted: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """(examples, n) places of (examples, n, tokens) sequences among others of their example, (examples, m, tokens)."""
    return (wanted[:, :, None, :] == among[:, None, :, :]).all(dim=-1).int().argmax(dim=-1)
