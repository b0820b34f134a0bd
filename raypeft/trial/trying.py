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
from raypeft.mistakes import nearest
from raypeft.models.loading import Base
from raypeft.prompting.shots import pick_shots
from raypeft.records import Example, Splits
from raypeft.results.store import ResultStore
from raypeft.study.plan import make_trial
from raypeft.trial import examples
from raypeft.trial.answer import ask, found_for, longest_answer
from raypeft.trial.context import TrialContext

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial whose model can be asked."""

    row: Row
    context: TrialContext
    base: Base
    splits: Splits

    @classmethod
    def of(cls, store: ResultStore, trial_id: str) -> Asked:
        """Load the base model and the data of a trial.

        Raises ValueError where there is no such trial, or where its weights were not kept, and what loading raises.
        """
        row = row_of(store, trial_id)
        trial = make_trial({name: value for name, value in row.items() if value is not None})
        if trial.method.trains and not isinstance(trial.method, Adapter):
            raise ValueError(f"trial {trial_id} must have kept its weights but {trial.tuning_method} keeps none; "
                             f"choose a trial with an adapter, or one without training")  # fmt: skip
        context = TrialContext(trial, row["sweep"], store)
        splits, _ = examples.load(trial, context.dataset)
        base = context.bases.get(*trial.base_key)
        if context.dataset.max_new_tokens is None:
            context = replace(context, longest_answer=longest_answer(context, base, splits))
        return cls(row, context, base, splits)

    def answers(self, instructions: Sequence[str]) -> list[list[str]]:
        """The candidates for each instruction, best first. Raises ValueError where an instruction is too long."""
        queries = [Example(f"asked/{number}", text, "") for number, text in enumerate(instructions)]
        shots = pick_shots(self.context.trial.method, self.splits["train"], queries, self.context.services)
        with self._tuned() as model:
            prompts = ask(self.context, model, self.base, queries, shots)
            found = found_for(self.context, model, self.base, prompts)
        return [[candidate.text for candidate in candidates] for candidates in found]

    @contextmanager
    def _tuned(self) -> Iterator[Any]:
        """The base model, with the trial's adapter where it trained one."""
        method, store = self.context.trial.method, self.context.store
        if not isinstance(method, Adapter):
            yield self.base.model
            return
        from peft import PeftModel

        with tempfile.TemporaryDirectory() as folder:
            store.read_folder(f"adapters/{self.row['id']}", Path(folder))
            model = PeftModel.from_pretrained(self.base.model, folder)
            try:
                yield model.eval()
            finally:
                self.base.restore(model)


def row_of(store: ResultStore, trial_id: str) -> Row:
    """The row of a trial, by its id or the beginning of it. Raises ValueError where no trial or several have it."""
    rows = {row["id"]: row for row in store.read_rows()}
    found = [row for each, row in rows.items() if each.startswith(trial_id)]
    if len(found) != 1:
        known = ", ".join(list(rows)[:8]) + (" ..." if len(rows) > 8 else "")
        what = "several have it" if found else f"none has it{nearest(trial_id, rows)}"
        raise ValueError(f"--trial must be the id of one trial of {store.url} ({known}) but got {trial_id}: {what}")
    return found[0]
