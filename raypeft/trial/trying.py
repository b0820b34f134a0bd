"""Ask the model of a finished trial something new, in the way that the trial asked its test examples.

asked = Asked.of(store, "61da8be3c4")
asked.answers(["sort the list `x`"])          # [["x.sort()", ...]]: the candidates, best first
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raypeft.methods import Adapter
from raypeft.models.loading import Base, BaseCache
from raypeft.prompting.shots import pick_shots
from raypeft.records import Example
from raypeft.results.chosen import chosen
from raypeft.results.store import ResultStore
from raypeft.study.trials import make_trial
from raypeft.trial import examples
from raypeft.trial.answer import ask, found_for
from raypeft.trial.context import TrialContext

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial whose model can be asked."""

    context: TrialContext
    base: Base
    adapter: str | None
    """Folder of the trial's adapter in the store. None where the base answers as it is."""

    @classmethod
    def of(cls, store: ResultStore, trial_id: str, bases: BaseCache | None = None) -> Asked:
        """Load the base model of a trial. `bases` holds the base model where several trials are asked.

        No data is read: it may have moved or changed, or never have been on this machine.

        Raises ValueError where there is no such trial, or where its weights were not kept, and what loading raises.
        """
        row = chosen(store.read_rows(), trial_id, store.url)
        trial = make_trial({name: value for name, value in row.items() if value is not None})
        adapts = isinstance(trial.method, Adapter)
        older = f"adapters/{row['id']}"  # where older versions put it, and did not say so
        kept = row["kept"] or (older if adapts and store.exists(older) else None)
        if trial.method.trains and kept is None:
            raise ValueError(f"trial {trial_id} must have kept its weights but has not; `keep: model` in the sweep "
                             f"file keeps those of full fine-tuning as well")  # fmt: skip
        context = TrialContext(
            trial, row["sweep"], store, bases=bases or BaseCache(), learns_fences=bool(row.get("learns_fences"))
        )
        base = _base(context, store, None if adapts else kept)
        # A trial that decoded nothing has no such figure. Planning's is not too short.
        room = row.get("max_new_tokens_used") or context.dataset.longest_answer
        return cls(replace(context, longest_answer=room), base, kept if adapts else None)

    def answers(self, instructions: Sequence[str]) -> list[list[str]]:
        """The candidates for each instruction, best first.

        Raises ValueError where an instruction is too long; where the trial puts examples into the prompt, also what
        loading its data raises.
        """
        trial = self.context.trial
        queries = [Example(f"asked/{number}", text, "") for number, text in enumerate(instructions)]
        train = examples.load(trial)[0]["train"] if trial.method.num_shots else []
        shots = pick_shots(trial.method, train, queries, self.context.services)
        with self._tuned() as model:
            prompts = ask(self.context, model, self.base, queries, shots)
            found = found_for(self.context, model, self.base, prompts)
        return [[candidate.text for candidate in candidates] for candidates in found]

    @contextmanager
    def _tuned(self) -> Iterator[Any]:
        """The base model, with the trial's adapter where it trained one."""
        if self.adapter is None:
            yield self.base.model
            return
        from peft import PeftModel

        with tempfile.TemporaryDirectory() as folder:
            self.context.store.read_folder(self.adapter, Path(folder))
            model = PeftModel.from_pretrained(self.base.model, folder)
            try:
                yield model.eval()
            finally:
                self.base.restore(model)


def _base(context: TrialContext, store: ResultStore, folder: str | None) -> Base:
    """The trial's base model, or the weights that it trained from a folder of the store."""
    if folder is None:
        return context.bases.get(*context.trial.base_key)
    name, _, _, weights = context.trial.base_key
    with tempfile.TemporaryDirectory() as local:
        store.read_folder(folder, Path(local))
        return context.bases.get(name, local, None, weights)
