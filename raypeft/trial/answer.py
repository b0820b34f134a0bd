"""A trial's answers: the test split's prompts, and the candidates for each, decoded with their tests beside.

Torch is imported only when something is asked or answered: the columns declared here are read by planning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any

from raypeft.events import Noted, Stage
from raypeft.metrics.exact_match import matches
from raypeft.models.loading import Base
from raypeft.prompting.plain_text import is_kept
from raypeft.prompting.room import Room, check_ids
from raypeft.prompting.shots import Shots, encode_queries
from raypeft.records import Candidate, Column, Example, Prompt, Splits
from raypeft.trial.checkpoints import data_hash, made_by
from raypeft.trial.context import TrialContext
from raypeft.trial.encoders import encoded_once, trial_encoder
from raypeft.trial.examples import of_dataset
from raypeft.trial.parts import Parts
from raypeft.trial.searching import chosen_path, search
from raypeft.trial.tests import CandidateTests

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
        "Maximum number of tokens in an answer: max_new_tokens, the dataset's value, or the length of the longest "
        "reference answer. If the model's context is too short for that answer and the prompts of others, it is the "
        "length with which most examples have room for prompt and answer",
        "tokens",
    ),
    Column(
        "decoding_path",
        str,
        "How candidates were decoded. graphed: as shared, each step as a CUDA graph; shared: the beams of an example "
        "share one copy of its prompt; cached: each beam has its own copy; plain: generate of Transformers reads the "
        "prompts of a batch itself; alone: it reads one prompt after the other. All give the same candidates; plain "
        "and alone are slower, except for encoder-decoders",
    ),
    Column(
        "generation_batch_size",
        int,
        "Number of examples decoded together: fewer than planned where GPU memory ran out and batches were halved",
        "examples",
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
        "learns_fences",
        bool,
        "Whether most of the answers that the trial trained on begin with a code fence, which is then a part of its "
        "candidates (without a `stop`). Otherwise an opening fence is left out of an answer. Tests never run fences",
    ),
    Column(
        "references_lost",
        int,
        "Test examples whose reference answer, or first official solution, the model's tokenizer does not give back "
        "(T5's has no braces), or which is cut where answers begin or end (at the code fences of untrained models), so "
        "that no candidate can match it",
        "examples",
    ),
)
"""The columns of the row that `candidate_columns`, `path_columns` and `lost_references` fill."""


def ask(context: TrialContext, model: Any, base: Base, examples: Sequence[Example], shots: Shots) -> list[Prompt]:
    """The prompts of test examples with their shots, as `model` (the base, perhaps with an adapter) will read them."""
    from raypeft.models import virtual_tokens

    encoder = trial_encoder(context, base)
    room = Room(base.context_length, base.is_encoder_decoder, virtual_tokens.count(model))
    queries = encode_queries(examples, shots, context.trial.method, encoder, room, context.max_new_tokens)
    check_ids(queries, base.token_count, base.tokenizer)
    return queries


def with_room_for_answers(context: TrialContext, base: Base, splits: Splits) -> TrialContext:
    """The context with the length of answers, where it is derived from the data: that of the longest reference answer,
    or less where the model has too little room (`Room.for_answers`).

    It is that of all splits of the dataset that is asked, with its end, as the model's tokenizer has it. Prompts count
    without shots, which are left out where there is no room.
    """
    if context.dataset.max_new_tokens is not None:
        return context
    encoder = trial_encoder(context, base)
    asked = of_dataset(splits, context.trial, context.dataset.name)
    answered = [each for found in asked.values() for each in encoded_once(base, encoder, found, most=None)]
    virtual = getattr(context.trial.method, "num_virtual_tokens", 0)
    room = Room(base.context_length, base.is_encoder_decoder, virtual)
    lengths = ((len(each.prompt_ids), len(each.answer_ids)) for each in answered)
    return replace(context, longest_answer=room.for_answers(lengths))


def path_columns(context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt]) -> dict[str, Any]:
    """How candidates are planned to be decoded, and why not faster, by column. Raises what `chosen_path` raises."""
    chosen = chosen_path(context, model, base, queries)
    together = 1 if chosen.path == "alone" else context.generation_batch_size
    return {"decoding_path": chosen.path, "decoding_note": chosen.note, "generation_batch_size": together}


def lost_references(context: TrialContext, base: Base, examples: Sequence[Example]) -> dict[str, int]:
    """How many references or official solutions no answer can be, since the model cannot write them or they are cut as
    answers are, by column; empty where the data has none."""
    codes, ends = [example.code for example in examples if example.code], search(context, base).ends(base.tokenizer)
    lost = sum(not (is_kept(base.tokenizer, code) and matches(ends.kept(code), code)) for code in codes)
    return {"references_lost": lost} if codes else {}


def answer(
    context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt], tests: CandidateTests | None = None
) -> list[list[Candidate]]:
    """The candidates for each query.

    Each batch's candidates are stored as they come, and their `tests`, if any, begin while the next batch is decoded.
    A trial that was interrupted takes up the batches that are stored, and decodes the others in the same batches as if
    there had been no interruption. Raises Stopped after a batch where the trial was told to stop.
    """
    trial_id, store, order = context.trial.id, context.store, order_of(queries)
    parts = Parts(store, trial_id, decoded_by(context, model, base, queries))
    earlier = parts.load([queries[place] for place in order], context.trial.num_return_sequences)
    known = [candidates for batch in earlier for candidates in batch]
    candidates = dict(zip(order, known, strict=False))
    context.earlier["generate"] = parts.earlier.seconds
    context.meter.note("generate", parts.earlier.peak_memory_gb)
    if known:
        context.listener(Noted(f"the candidates for {len(known)} of {len(queries)} examples are there from before"))
    begin_tests(tests, queries, candidates)
    full = zip(earlier, accumulate(map(len, earlier)), strict=True)
    context.decoded_together.extend(len(batch) for batch, end in full if end < len(fitting_of(queries)))
    # A batch that was smaller than asked for shows that no larger one fits in memory.
    batch_size = len(earlier[-1]) if earlier else None
    with context.stop.deferred():
        for places, found in decoded(context, model, base, queries, len(known), batch_size):
            parts.add([*candidate_rows(trial_id, [queries[place] for place in places], found)])
            new = dict(zip(places, found, strict=True))
            begin_tests(tests, queries, new)
            candidates |= new
            context.stop.check()
    in_order = [candidates[place] for place in range(len(queries))]
    # Before they are scored, so that a fault in a metric loses no candidate. The parts stay until the trial has come to
    # a result: one that goes on, or is run again after a fault, begins with them.
    store.write_rows("candidates", trial_id, candidate_rows(trial_id, queries, in_order))
    return in_order


def begin_tests(
    tests: CandidateTests | None, queries: Sequence[Prompt], candidates: Mapping[int, list[Candidate]]
) -> None:
    """Queue the candidates of these places, where there are tests."""
    if tests is not None:
        for place, found in candidates.items():
            tests.begin(queries[place].example, found)


def decoded_by(context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt]) -> dict[str, str]:
    """All that candidates depend on: weights, prompts, search, code and versions."""
    from raypeft.training.state import fingerprints

    how = replace(search(context, base), path=chosen_path(context, model, base, queries).path)
    weights = fingerprints([each for each in model.parameters() if each.requires_grad])
    return made_by(context.trial.fields, base, ("decoding", "methods", "models")) | {
        "search": repr(how),
        "data": data_hash(queries),
        "weights": hashlib.sha256(repr(weights).encode()).hexdigest()[:12],
    }


def fitting_of(queries: Sequence[Prompt]) -> list[int]:
    """The places of the queries that fit the model's context."""
    return [place for place, query in enumerate(queries) if not query.too_long]


def order_of(queries: Sequence[Prompt]) -> list[int]:
    """The places of the queries in the order in which `decoded` gives them."""
    from raypeft.decoding.generation import decoding_order

    fitting = fitting_of(queries)
    order = [fitting[place] for place in decoding_order([queries[place] for place in fitting])]
    return [*order, *(place for place, query in enumerate(queries) if query.too_long)]


def decoded(
    context: TrialContext,
    model: Any,
    base: Base,
    queries: Sequence[Prompt],
    done: int = 0,
    batch_size: int | None = None,
) -> Iterator[tuple[list[int], list[list[Candidate]]]]:
    """The places and candidates of each batch, but for the `done` first ones in `order_of`.

    Where the model has no room for a query, its candidates are empty, which are misses; they are the last batch.
    `batch_size` None: as many examples as the trial may decode at once.
    """
    from raypeft.decoding.generation import batches

    fitting = fitting_of(queries)
    how = replace(search(context, base), path=chosen_path(context, model, base, queries).path)
    how = replace(how, batch_size=batch_size or how.batch_size)
    prompts = [queries[place] for place in fitting]
    context.listener(Stage("generate", done, len(queries)))
    if done < len(fitting):
        for batch, found in batches(model, base.tokenizer, prompts, how, done):
            done += len(batch)
            if done < len(fitting):  # the last batch is what was left
                context.decoded_together.append(len(batch))
            yield [fitting[place] for place in batch], found
            context.listener(Stage("generate", done, len(queries)))
    if others := order_of(queries)[done:]:
        ranks = range(context.trial.num_return_sequences)
        yield (
            others,
            [[Candidate(queries[place].example.id, rank, "", 0, "too_long") for rank in ranks] for place in others],
        )


def found_for(context: TrialContext, model: Any, base: Base, queries: Sequence[Prompt]) -> list[list[Candidate]]:
    """The candidates for each query, of which nothing is stored. Raises Stopped where the trial was told to stop."""
    candidates: dict[int, list[Candidate]] = {}
    with context.stop.deferred():
        for places, found in decoded(context, model, base, queries):
            candidates |= zip(places, found, strict=True)
            context.stop.check()
    return [candidates[place] for place in range(len(queries))]


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
