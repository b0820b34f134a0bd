"""Decoding against `generate` of Transformers, one example at a time, as the paper's code calls it."""

from functools import partial

import pytest
import torch
from metaspace import metaspace_tokenizer
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from raypeft.data import DATASETS
from raypeft.decoding import beam_attention
from raypeft.decoding.decoders import common_prefix
from raypeft.decoding.generation import Search, generate
from raypeft.decoding.opening import Opening
from raypeft.decoding.row_search import RowSearch
from raypeft.events import Stage
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.shots import random_shots
from raypeft.records import Example, Prompt

SEARCH = {"num_beams": 6, "num_return_sequences": 4, "max_new_tokens": 16}
SHORT = SEARCH | {"max_new_tokens": 4}
"""For tests of how prompts are batched."""


@pytest.fixture(scope="module")
def base():
    return load_base("toy")


@pytest.fixture(scope="module")
def splits():
    return DATASETS["toy"].load(None, None)


def queries(base, splits, num_shots, count=7):
    shots = random_shots(splits["train"], num_shots, 42)
    return [Encoder(base.tokenizer).encode(example, shots) for example in splits["test"][:count]]


def plain_texts(model, tokenizer, prompts, stop):
    """What Transformers generates for one prompt after the other."""
    texts = []
    for prompt in prompts:
        ids = torch.tensor([prompt.prompt_ids])
        ends = {"stop_strings": list(stop), "tokenizer": tokenizer} if stop else {}
        rows = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **SEARCH, **ends)
        decoded = [tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True) for row in rows]
        texts.append([text.split("\n")[0] if stop else text for text in decoded])
    return texts


def tiny_codegen(base):
    """A small random CodeGen: its attention is not written against the interface, and ours takes its place."""
    config = AutoConfig.for_model(
        "codegen", vocab_size=len(base.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=1024, rotary_dim=4
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = model.config.eos_token_id = base.tokenizer.eos_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id = base.tokenizer.pad_token_id
    return model


def tuned_toy():
    """The toy model with a LoRA adapter that changes what it says."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return get_peft_model(load_base("toy").model, config).eval()


@pytest.mark.parametrize("num_shots", [0, 3])
@pytest.mark.parametrize("stop", [("\n",), ()])
def test_candidates_are_those_of_transformers_for_each_prompt_alone(base, splits, num_shots, stop):
    prompts = queries(base, splits, num_shots, count=4)
    found = generate(base.model, base.tokenizer, prompts, Search(stop=stop, batch_size=3, **SEARCH))
    assert [[each.text for each in beams] for beams in found] == plain_texts(base.model, base.tokenizer, prompts, stop)


@pytest.mark.parametrize("make_model", [tuned_toy, tiny_codegen], ids=["lora", "codegen"])
def test_an_adapter_and_a_model_with_its_own_attention_decode_as_transformers_does(base, splits, make_model):
    model = make_model() if make_model is tuned_toy else make_model(base)
    prompts = queries(base, splits, 2, count=4)
    found = generate(model, base.tokenizer, prompts, Search(stop=("\n",), batch_size=3, **SEARCH))
    expected = plain_texts(model, base.tokenizer, prompts, ("\n",))
    assert [[each.text for each in beams] for beams in found] == expected


def test_only_models_whose_attention_can_be_replaced_get_the_shared_cache(base):
    assert beam_attention.supports(base.model)
    assert beam_attention.supports(tiny_codegen(base))
    bloom = AutoConfig.for_model("bloom", vocab_size=len(base.tokenizer), hidden_size=32, n_layer=2, n_head=4)
    assert not beam_attention.supports(AutoModelForCausalLM.from_config(bloom))


def test_the_batch_size_changes_no_candidate(base, splits):
    prompts = queries(base, splits, 4, count=5)
    searches = [Search(stop=("\n",), batch_size=size, **SEARCH) for size in (1, 5)]
    alone, together = (generate(base.model, base.tokenizer, prompts, search) for search in searches)
    assert alone == together


def test_results_stand_in_the_order_of_the_prompts(base, splits):
    prompts = queries(base, splits, 0)
    found = generate(base.model, base.tokenizer, prompts, Search(batch_size=2, **SHORT))
    assert [beams[0].example_id for beams in found] == [prompt.example.id for prompt in prompts]
    assert [each.rank for each in found[0]] == [0, 1, 2, 3]


def test_a_candidate_tells_why_it_ends_and_how_long_it_is(base, splits):
    prompts = queries(base, splits, 0)
    for beams in generate(base.model, base.tokenizer, prompts, Search(stop=("\n",), **SEARCH)):
        for candidate in beams:
            assert "\n" not in candidate.text
            assert candidate.stop_reason in ("eos", "stop", "length")
            assert (candidate.token_count == SEARCH["max_new_tokens"]) >= (candidate.stop_reason == "length")


def test_memory_running_out_halves_the_batch_and_loses_nothing(base, splits, monkeypatch):
    prompts = queries(base, splits, 0)
    expected = generate(base.model, base.tokenizer, prompts, Search(**SHORT))
    real, sizes = base.model.generate, []

    def scarce(**arguments):
        sizes.append(len(arguments["input_ids"]))
        if sizes[-1] > 2:
            raise torch.cuda.OutOfMemoryError("too much")
        return real(**arguments)

    monkeypatch.setattr(base.model, "generate", scarce)
    assert generate(base.model, base.tokenizer, prompts, Search(batch_size=7, **SHORT)) == expected
    assert sizes[:3] == [7, 3, 1]


def test_progress_is_reported_up_to_the_last_example(base, splits):
    seen = []
    prompts = queries(base, splits, 0)
    generate(base.model, base.tokenizer, prompts, Search(batch_size=3, **SHORT), listener=seen.append)
    assert seen == [Stage("generate", done, 7) for done in (0, 3, 6, 7)]


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [([[1, 2, 3, 4], [1, 2, 9, 9]], [1, 2]), ([[1, 2, 3], [1, 2, 3]], [1]), ([[1, 2, 3]], []), ([[1, 2], [2, 2]], [])],
)
def test_the_common_prefix_leaves_two_tokens_of_every_prompt(sequences, expected):
    assert common_prefix(sequences) == expected


def test_a_stop_string_of_several_characters_ends_a_candidate_before_it(base, splits):
    prompts = queries(base, splits, 3, count=4)
    whole = generate(base.model, base.tokenizer, prompts, Search(**SEARCH))
    string = next(each.text for beams in whole for each in beams if len(each.text) > 8)[3:6]
    found = generate(base.model, base.tokenizer, prompts, Search(stop=(string,), **SEARCH))
    assert all(string not in each.text for beams in found for each in beams)
    assert any(each.stop_reason == "stop" for beams in found for each in beams)


def test_beam_candidates_carry_the_log_probabilities_that_transformers_sums(base, splits):
    prompts = queries(base, splits, 2, count=4)
    found = generate(base.model, base.tokenizer, prompts, Search(stop=("\n",), batch_size=3, **SEARCH))
    for prompt, beams in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt.prompt_ids])
        out = base.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, output_scores=True,
            return_dict_in_generate=True, stop_strings=["\n"], tokenizer=base.tokenizer, **SEARCH,
        )  # fmt: skip
        sums = [score * each.token_count for score, each in zip(out.sequences_scores.tolist(), beams, strict=True)]
        assert [each.log_probability for each in beams] == pytest.approx(sums, abs=1e-3)


SAMPLES = {"do_sample": True, "num_return_sequences": 4, "max_new_tokens": 12, "temperature": 0.8, "top_p": 0.95}


@pytest.mark.parametrize("make_model", [tuned_toy, tiny_codegen], ids=["lora", "codegen"])
def test_samples_depend_on_seed_example_and_candidate_and_not_on_the_batch(base, splits, make_model):
    model = make_model() if make_model is tuned_toy else make_model(base)
    prompts = queries(base, splits, 2, count=4)
    alone, together = (generate(model, base.tokenizer, prompts, Search(batch_size=size, **SAMPLES)) for size in (1, 4))
    fewer = generate(model, base.tokenizer, prompts[2:], Search(batch_size=4, **SAMPLES))
    other = generate(model, base.tokenizer, prompts, Search(batch_size=4, seed=7, **SAMPLES))
    assert alone == together
    assert together[2:] == fewer
    assert together != other
    assert len({each.text for each in together[0]}) > 1


def test_a_samples_log_probability_is_the_models_own(base, splits):
    prompt = queries(base, splits, 2, count=1)[0]
    for candidate in generate(base.model, base.tokenizer, [prompt], Search(**SAMPLES))[0]:
        answer = base.tokenizer(candidate.text, add_special_tokens=False)["input_ids"]
        if candidate.stop_reason != "length" or len(answer) != candidate.token_count:
            continue  # what was decoded need not be how the tokenizer would write it
        ids = torch.tensor([[*prompt.prompt_ids, *answer]])
        log_probs = base.model(ids).logits.log_softmax(-1)[0, len(prompt.prompt_ids) - 1 : -1]
        expected = log_probs.gather(1, torch.tensor(answer)[:, None]).sum().item()
        assert candidate.log_probability == pytest.approx(expected, abs=1e-3)


def test_one_beam_is_greedy_search(base, splits):
    prompts = queries(base, splits, 2, count=4)
    found = generate(base.model, base.tokenizer, prompts, Search(max_new_tokens=12))
    for prompt, beams in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt.prompt_ids])
        row = base.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)[0]
        assert beams[0].text == base.tokenizer.decode(row[ids.shape[1] :], skip_special_tokens=True)
        assert beams[0].log_probability < 0


def test_each_finished_batch_is_handed_over_at_once(base, splits):
    prompts, kept = queries(base, splits, 0), []
    search = Search(batch_size=3, **SHORT)
    found = generate(base.model, base.tokenizer, prompts, search, keep=lambda *batch: kept.append(batch))
    assert [len(places) for places, _ in kept] == [3, 3, 1]
    assert {place: each for places, batch in kept for place, each in zip(places, batch, strict=True)} == dict(
        enumerate(found)
    )


class Dictated(LogitsProcessor):
    """Makes a model say given tokens, whatever it read."""

    def __init__(self, tokens, start):
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids, scores):
        said = input_ids.shape[1] - self.start
        wanted = torch.full_like(scores, -1e4)
        wanted[:, self.tokens[min(said, len(self.tokens) - 1)]] = 0
        return wanted


@pytest.mark.parametrize("num_beams", [1, 2])
def test_the_search_goes_on_after_an_answers_opening_and_stops_after_its_first_line(
    base, splits, num_beams, monkeypatch
):
    prompts = queries(base, splits, 0, count=1)
    said = base.tokenizer("\n```python\nx = 1\ny = 2\nz = 3", add_special_tokens=False)["input_ids"]
    real, lengths = base.model.generate, []

    def dictated(logits_processor, **arguments):
        start = arguments["input_ids"].shape[1]
        generated = real(logits_processor=LogitsProcessorList([Dictated(said, start), *logits_processor]), **arguments)
        lengths.append(generated.shape[1] - start)
        return generated

    monkeypatch.setattr(base.model, "generate", dictated)
    search = partial(Search, max_new_tokens=20, num_beams=num_beams, stop=("\n",))
    (((found,),), ((cut,),)) = (
        generate(base.model, base.tokenizer, prompts, search(opening=opening)) for opening in (Opening(), None)
    )
    assert (found.text, found.stop_reason, cut.text) == ("x = 1", "stop", "")
    assert found.log_probability is not None
    if num_beams == 1:
        assert lengths[0] < len(said) - 3, "it ended before the second line was whole"


@pytest.mark.parametrize(
    ("prefilled", "alone", "text"),
    [
        ("", False, "    return x"),
        ("", True, "   return x"),
        ("def f(x):\n", False, "def f(x):\n    return x"),
        ("def f(x):\n", True, "def f(x):\n    return x"),
    ],
)
def test_an_indented_body_keeps_its_indentation_with_a_tokenizer_like_llamas(base, monkeypatch, prefilled, alone, text):
    tokenizer = metaspace_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    head, whole = (tokenizer(each)["input_ids"] for each in ("def f(x):\n", "def f(x):\n    return x"))
    said = [*whole[len(head) :], tokenizer.eos_token_id]
    monkeypatch.setattr(base.model, "generate", lambda **_: None)
    for name, value in {"found": [said], "nan_step": lambda _: None, "sum_of": lambda *_: 0.0}.items():
        monkeypatch.setattr(RowSearch, name, value)
    prompt = Prompt(Example("q", "a", "b"), head, [], prefilled=prefilled)
    ((found,),) = generate(base.model, tokenizer, [prompt], Search(max_new_tokens=20, decode_alone=alone))
    assert found.text == text


@pytest.mark.parametrize("how", [SEARCH, SAMPLES], ids=["beams", "samples"])
@pytest.mark.parametrize("stop", [(), ("\n",), ("\n### Instruction:",)])
def test_answers_that_open_with_neither_newline_nor_fence_do_not_change_where_openings_are_left_out(
    base, splits, stop, how
):
    prompts = queries(base, splits, 3, count=4)
    usual, skipped = (
        generate(base.model, base.tokenizer, prompts, Search(stop=stop, opening=opening, **how))
        for opening in (None, Opening())
    )
    assert not any(each.text.startswith(("\n", "`")) for beams in usual for each in beams)
    assert usual == skipped


@pytest.mark.parametrize("how", [SEARCH, SAMPLES], ids=["beams", "samples"])
def test_the_search_ends_a_candidate_at_the_end_of_a_turn(base, splits, how):
    prompts = queries(base, splits, 3, count=4)
    whole = generate(base.model, base.tokenizer, prompts, Search(**how))
    tokens = base.tokenizer(whole[0][0].text, add_special_tokens=False)["input_ids"]
    found = generate(
        base.model, base.tokenizer, prompts, Search(end_ids=(base.tokenizer.eos_token_id, tokens[2]), **how)
    )
    ended = [each for beams in found for each in beams if each.stop_reason == "eos"]
    assert any(base.tokenizer.decode(tokens[2]) in each.text for each in ended)
    assert all(each.log_probability is not None and each.log_probability < 0 for each in ended)


@pytest.mark.parametrize("path", ["shared", "plain"])
@pytest.mark.parametrize("search", [{"num_beams": 3}, {"num_beams": 3, "older": "4.44"}, {"do_sample": True}, {}],
                         ids=["beams", "older", "samples", "greedy"])  # fmt: skip
def test_scores_that_are_no_numbers_are_no_answers_and_the_step_is_named(base, splits, monkeypatch, path, search):
    def broken(logits):
        reads = next(steps)
        return torch.full_like(logits, float("nan")) if reads == 3 else logits

    head, prompts = base.model.lm_head, queries(base, splits, 0, 2)
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda states: broken(forward(states)))
    wanted = Search(max_new_tokens=6, path=path, **search)
    # The shared path reads the prompts, and what they have in common, before the first token is scored.
    steps = iter(range(1, 100)) if path == "plain" else iter(range(-1, 100))
    with pytest.raises(FloatingPointError, match=r"NaN at token 3 of an answer to prompts of \d+"):
        generate(base.model, base.tokenizer, prompts, wanted)
