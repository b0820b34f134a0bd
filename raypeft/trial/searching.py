"""How a trial looks for candidates: its settings as a `Search`, what ends an answer, and the path of decoding.

Torch is imported only when something is searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from raypeft.decoding.opening import FENCE, Opening
from raypeft.models.loading import Base
from raypeft.records import Dataset, Form, Prompt, Splits
from raypeft.study.config import Trial
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import trial_encoder

if TYPE_CHECKING:
    from raypeft.decoding.generation import Search
    from raypeft.decoding.older_search import Version
    from raypeft.decoding.selfcheck import Chosen

PAPER_TOP_K = 50
"""The paper's code left top_k out (replication package, commit 3b31320), and Transformers 4 then samples from the 50
likeliest tokens (`GenerationConfig`)."""


def search(context: TrialContext, base: Base) -> Search:
    """How the trial looks for candidates."""
    from raypeft.decoding.generation import Search

    trial, encoder = context.trial, trial_encoder(context, base)
    as_paper = trial.fidelity == "paper"
    older: Version | None = None
    if as_paper and not trial.do_sample:
        older = "4.34" if trial.method.trains else "4.44"  # what RQ2, and RQ1 and RQ3, ran with
    stop = stop_strings(trial, context.dataset, encoder.form)
    chat_ends = (base.tokenizer.eos_token_id, encoder.end_id) if encoder.form.chat else None
    return Search(
        max_new_tokens=context.max_new_tokens,
        num_beams=trial.num_beams,
        num_return_sequences=trial.num_return_sequences,
        do_sample=trial.do_sample,
        temperature=trial.temperature,
        top_p=trial.top_p,
        top_k=PAPER_TOP_K if as_paper and trial.do_sample else None,
        seed=trial.seed,
        stop=stop,
        older=older,
        end_ids=base.stored_end_ids if as_paper else chat_ends,
        opening=None if as_paper else opening(encoder.form, fences=bool(stop) or not context.learns_fences),
        decode_alone=as_paper,
        batch_size=context.generation_batch_size,
        graphs=context.options.graphs == "auto",
    )


def opening(form: Form, fences: bool) -> Opening:
    """What is left out where an answer begins: blanks, and perhaps a fence. Chat templates write spaces there too.

    Where a model learns fences from its references, and its answers end by themselves, they belong to the answer.
    """
    return Opening(" \t\n" if form.chat else "\n", form.opens_fence, fences)


def learnt_fences(trial: Trial, splits: Splits) -> bool:
    """Whether most of the answers that the trial trains on begin with a code fence."""
    fenced = sum(each.code.lstrip().startswith(FENCE) for each in splits["train"])
    return trial.method.trains and 2 * fenced > len(splits["train"])


def stop_strings(trial: Trial, asked: Dataset, form: Form) -> tuple[str, ...]:
    """What ends an answer to an example of a dataset, besides the end-of-sequence token."""
    if form.stop is not None:
        return form.stop
    if trial.fidelity == "paper":
        return asked.paper_stop
    if trial.method.trains:
        return ()
    # A chat model often answers in a code fence, and explains below it.
    return (*asked.untuned_stop, *([FENCE] if form.chat else []))


def chosen_path(context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt]) -> Chosen:
    """How the candidates for some prompts are decoded (`raypeft.decoding.selfcheck`), found out once for a base.

    `model` is the base with the trial's adapter, trained or not. Raises ValueError where it cannot be decoded at all.
    """
    from raypeft.decoding.selfcheck import choose_path
    from raypeft.models import virtual_tokens
    from raypeft.models.limits import rope_switch

    wanted, virtual = search(context, base), virtual_tokens.count(model)
    longest = virtual + max((len(each.prompt_ids) for each in queries), default=0) + wanted.max_new_tokens
    kind = wanted.do_sample, wanted.num_beams > 1, wanted.older is not None
    is_beyond = longest > (rope_switch(model.config) or longest)
    options = wanted.graphs, context.options.deterministic  # they decide which kernels run
    key = kind, virtual, virtual_tokens.needs_cache(model), is_beyond, options
    if key not in base.decoding:
        base.decoding[key] = choose_path(model, base.tokenizer, wanted, longest)
    chosen: Chosen = base.decoding[key]
    return chosen
