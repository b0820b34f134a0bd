"""A trial's answers: the test split's prompts, and the candidates for each, decoded with their tests beside.

Torch is imported only when something is asked or answered: the columns declared here are read by planning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from raypeft.metrics.exact_match import matches
from raypeft.models.loading import Base
from raypeft.prompting.plain_text import is_kept
from raypeft.prompting.room import Room, check_ids
from raypeft.prompting.shots import Shots, encode_queries
from raypeft.records import Candidate, Column, Example, Form, Prompt, Splits
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import trial_encoder
from raypeft.trial.tests import CandidateTests

if TYPE_CHECKING:
    from raypeft.decoding.generation import Keep, Search
    from raypeft.decoding.older_search import Version
    from raypeft.decoding.selfcheck import Chosen

CANDIDATES = (
    Column("id", str, "Id of the trial"),
    Column("example_id", str, "Id of the example in its dataset"),
    Column("rank", int, "Rank among the candidates of the example. 0 is the best according to the model"),
    Column("text", str, "Generated code, without its stop string"),
    Column("instruction", str, "Instruction of the example, which the prompt holds"),
    Column("reference", str, "Reference answer from the dataset"),
    Column("matches", bool, "Whether the text equals the reference, ignoring leading and trailing white space"),
    Column("token_count", int, "Number of generated tokens, including the stopping token", "tokens"),
    Column(
        "stop_reason",
        str,
        "Why generation ended: eos, stop (a stop string), length (max_new_tokens), or "
        "too_long (the prompt did not fit the model's context, and nothing was generated)",
    ),
    Column("log_probability", float, "Log-probability of the candidate, including its stopping token", "nats"),
    Column("prompt_tokens", int, "Prompt length, including shots", "tokens"),
    Column("shots", list[str], "Ids of the training examples in the prompt, in order"),
    Column("dropped_shots", int, "Number of shots that did not fit into the prompt", "shots"),
)
"""The table `candidates`: `candidate_rows`."""
COLUMNS = (
    Column(
        "distinct_candidates", float, "Mean number of different texts among the candidates of an example", "candidates"
    ),
    Column(
        "max_new_tokens_used",
        int,
        "Maximum number of tokens in an answer: max_new_tokens, the dataset's value, or the longest reference answer",
        "tokens",
    ),
    Column(
        "decoding_path",
        str,
        "How candidates were decoded. shared: the beams of an example share one copy of its prompt; cached: each beam "
        "has its own copy; plain: generate of Transformers reads the prompts of a batch itself; alone: it reads one "
        "prompt after the other. All give the same candidates; the last two are slower, except for encoder-decoders",
    ),
    Column("decoding_note", str, "Why no faster way of decoding was used"),
    Column("candidates_cut", float, "Share of candidates that reached max_new_tokens before they ended", "fraction"),
    Column(
        "references_too_long",
        int,
        "Test examples whose reference answer is longer than max_new_tokens, so that no candidate can match it",
        "examples",
    ),
    Column(
        "references_lost",
        int,
        "Test examples whose reference answer the model's tokenizer does not give back (T5's has no braces), so that "
        "no candidate can match it",
        "examples",
    ),
)
"""The columns of the row that `candidate_columns`, `path_columns` and `lost_references` fill."""


PAPER_TOP_K = 50
"""The paper's code left top_k out (replication package, commit 3b31320), and Transformers 4 then samples from the 50
likeliest tokens (`GenerationConfig`)."""


def ask(context: TrialContext, model: Any, base: Base, examples: Sequence[Example], shots: Shots) -> list[Prompt]:
    """The prompts of test examples with their shots, as `model` (the base, perhaps with an adapter) will read them."""
    from raypeft.models import virtual_tokens

    encoder = trial_encoder(context, base)
    room = Room(base.context_length, base.is_encoder_decoder, virtual_tokens.count(model))
    queries = encode_queries(examples, shots, context.trial.method, encoder, room, context.max_new_tokens)
    check_ids(queries, base.token_count, base.tokenizer)
    return queries


def longest_answer(context: TrialContext, base: Base, splits: Splits) -> int:
    """Tokens of the longest reference answer of all splits, with its end, as the model's tokenizer has it."""
    encoder = trial_encoder(context, base)
    return max(len(encoder.encode(each).answer_ids) for examples in splits.values() for each in examples)


def chosen_path(context: TrialContext, model: Any, base: Base) -> Chosen:
    """How the trial's candidates are decoded (`raypeft.decoding.selfcheck`), found out once for a base.

    `model` is the base with the trial's adapter, trained or not. Raises ValueError where it cannot be decoded at all.
    """
    from raypeft.decoding.selfcheck import choose_path
    from raypeft.models import virtual_tokens

    wanted = search(context, base)
    kind = wanted.do_sample, wanted.num_beams > 1, wanted.older is not None
    key = kind, virtual_tokens.count(model), virtual_tokens.needs_cache(model)
    if key not in base.decoding:
        base.decoding[key] = choose_path(model, base.tokenizer, wanted)
    chosen: Chosen = base.decoding[key]
    return chosen


def path_columns(context: TrialContext, model: Any, base: Base) -> dict[str, str | None]:
    """How candidates will be decoded, and why not faster, by column. Raises what `chosen_path` raises."""
    chosen = chosen_path(context, model, base)
    return {"decoding_path": chosen.path, "decoding_note": chosen.note}


def lost_references(context: TrialContext, base: Base, examples: Sequence[Example]) -> dict[str, int]:
    """How many references the model cannot write, by column; empty where answers are not judged by references."""
    if "reference" not in context.dataset.judged_by:
        return {}
    return {"references_lost": sum(not is_kept(base.tokenizer, example.code) for example in examples)}


def answer(
    context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt], tests: CandidateTests | None = None
) -> list[list[Candidate]]:
    """The candidates for each query.

    Each batch's candidates are stored as they come, so that a trial that is killed keeps what it made, and their
    `tests`, if any, begin while the next batch is decoded.
    """
    trial_id, store, parts = context.trial.id, context.store, itertools.count()

    def keep(places: Sequence[int], found: list[list[Candidate]]) -> None:
        rows = candidate_rows(trial_id, [queries[place] for place in places], found)
        store.write_part("candidates", trial_id, next(parts), rows)
        if tests is not None:
            for place, candidates in zip(places, found, strict=True):
                tests.begin(queries[place].example, candidates)

    candidates = found_for(context, model, base, queries, keep)
    # Before they are scored, so that a fault in a metric loses no candidate.
    store.write_rows("candidates", trial_id, candidate_rows(trial_id, queries, candidates))
    store.drop_parts("candidates", trial_id)
    return candidates


def found_for(
    context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt], keep: Keep | None = None
) -> list[list[Candidate]]:
    """The candidates for each query; empty ones, which are misses, where the model has no room for it.

    `keep` is told of each batch, and of what was not decoded as of a last one.
    """
    from raypeft.decoding.generation import generate

    fitting = [place for place, query in enumerate(queries) if not query.too_long]
    others = [place for place, query in enumerate(queries) if query.too_long]

    def keep_fitting(places: Sequence[int], found: list[list[Candidate]]) -> None:
        if keep:
            keep([fitting[place] for place in places], found)

    decoded = [queries[place] for place in fitting]
    how = replace(search(context, base), path=chosen_path(context, model, base).path)
    found = generate(model, base.tokenizer, decoded, how, keep_fitting, context.listener)
    candidates = dict(zip(fitting, found, strict=True))
    count = context.trial.num_return_sequences
    for place in others:
        example_id = queries[place].example.id
        candidates[place] = [Candidate(example_id, rank, "", 0, "too_long") for rank in range(count)]
    if keep and others:
        keep(others, [candidates[place] for place in others])
    return [candidates[place] for place in range(len(queries))]


def search(context: TrialContext, base: Base) -> Search:
    """How the trial looks for candidates."""
    from raypeft.decoding.generation import Search
    from raypeft.decoding.stopping import Opening

    trial, encoder = context.trial, trial_encoder(context, base)
    as_paper = trial.fidelity == "paper"
    older: Version | None = None
    if as_paper and not trial.do_sample:
        older = "4.34" if trial.method.trains else "4.44"  # what RQ2, and RQ1 and RQ3, ran with
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
        stop=stop_strings(context, encoder.form),
        older=older,
        end_ids=base.stored_end_ids if as_paper else chat_ends,
        opening=None if as_paper else Opening(blanks_before(encoder.form), encoder.form.opens_fence),
        decode_alone=as_paper,
        batch_size=context.generation_batch_size,
    )


def blanks_before(form: Form) -> str:
    """The blanks that are left out where an answer begins. Chat templates write spaces there as well."""
    return " \t\n" if form.chat else "\n"


def stop_strings(context: TrialContext, form: Form) -> tuple[str, ...]:
    """What ends an answer besides the end-of-sequence token."""
    if form.stop is not None:
        return form.stop
    if context.trial.fidelity == "paper":
        return context.dataset.paper_stop
    if context.trial.method.trains:
        return ()
    # A chat model often answers in a code fence, and explains below it.
    return (*context.dataset.untuned_stop, *(["```"] if form.chat else []))


def candidate_columns(
    queries: Sequence[Prompt], candidates: Sequence[Sequence[Candidate]], max_new_tokens: int
) -> dict[str, Any]:
    """How candidates ended and differ, and whether they had the room of the references, by column."""
    every = [candidate for found in candidates for candidate in found]
    return {
        "distinct_candidates": sum(len({each.text for each in found}) for found in candidates) / len(candidates),
        "candidates_cut": sum(each.stop_reason == "length" for each in every) / len(every),
        "max_new_tokens_used": max_new_tokens,
        "references_too_long": sum(len(query.answer_ids) > max_new_tokens for query in queries),
    }


def candidate_rows(
    trial_id: str, queries: Sequence[Prompt], candidates: Sequence[Sequence[Candidate]]
) -> Iterator[dict[str, Any]]:
    for query, found in zip(queries, candidates, strict=True):
        reference = query.example.code
        for candidate in found:
            yield {
                "id": trial_id,
                **asdict(candidate),
                "instruction": query.example.nl,
                "reference": reference,
                "matches": matches(candidate.text, reference),
                "prompt_tokens": len(query.prompt_ids),
                "shots": query.shots,
                "dropped_shots": query.dropped_shots,
            }
