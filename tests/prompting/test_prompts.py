"""The prompt that every method reads, as text and as token ids."""

from itertools import pairwise
from typing import Any

import pytest
from tokenizers import Tokenizer

from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.prompts import (
    check_fits,
    cut_as_paper,
    encode,
    encode_in_room,
    form_of,
    pick_shots,
    pick_shots_for,
    render,
)
from raypeft.records import Example, Prompt

QUERY = Example("q", "reverse a list `x`", "x[::-1]")
SHOTS = [Example("1", "sort `y`", "sorted(y)"), Example("2", "sum `z`", "sum(z)")]
TRAIN = [Example(str(number), f"add {number}", f"x + {number}") for number in range(50)]


class ToyTokenizer:
    """The toy model's own tokenizer file behind the two calls that prompts make of a Transformers tokenizer."""

    def __init__(self, bos: bool = False, adds_eos: bool = False) -> None:
        self.file = Tokenizer.from_file(str(TOY_FOLDER / "tokenizer.json"))
        self.eos_token_id, self.bos = self.file.get_vocab_size() + 1, bos
        self.adds_eos = adds_eos

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = self.file.encode(text, add_special_tokens=False).ids
        before = [self.eos_token_id - 1] if self.bos and add_special_tokens else []
        after = [self.eos_token_id] if self.adds_eos and add_special_tokens else []
        return {"input_ids": [*before, *ids, *after]}

    def decode(self, ids: list[int]) -> str:
        return str(self.file.decode(ids, skip_special_tokens=False))


TOKENIZER: Any = ToyTokenizer()


def test_a_prompt_is_the_papers_template() -> None:
    assert render(QUERY.nl) == "### Instruction:\nreverse a list `x`\n### Response:\n"


def test_shots_come_before_the_query_in_their_order_with_their_answers() -> None:
    assert render(QUERY.nl, SHOTS) == (
        "### Instruction:\nsort `y`\n### Response:\nsorted(y)\n\n"
        "### Instruction:\nsum `z`\n### Response:\nsum(z)\n\n"
        "### Instruction:\nreverse a list `x`\n### Response:\n"
    )


def test_braces_in_an_example_stay_as_they_are() -> None:
    shot = Example("1", "make a dict of {x}", "{x: {}}")
    assert render("fill {nl} and {code}", [shot]).count("{") == 5
    assert "{x: {}}" in render("q", [shot])


def test_prompt_and_answer_say_what_the_text_says() -> None:
    prompt = encode(QUERY, TOKENIZER, SHOTS)
    assert TOKENIZER.decode(prompt.prompt_ids) == render(QUERY.nl, SHOTS)
    assert TOKENIZER.decode(prompt.answer_ids[:-1]) == QUERY.code


def test_an_answer_ends_with_the_end_of_sequence_token_and_holds_no_other() -> None:
    ids = encode(QUERY, TOKENIZER).answer_ids
    assert ids[-1] == TOKENIZER.eos_token_id and ids.count(TOKENIZER.eos_token_id) == 1


@pytest.mark.parametrize("code", ["x", "", "\n  x", "### Response:\n", " x[::-1]"])
def test_the_prompts_tokens_do_not_depend_on_the_answer(code: str) -> None:
    answered = encode(Example("q", QUERY.nl, code), TOKENIZER, SHOTS)
    assert answered.prompt_ids == encode(QUERY, TOKENIZER, SHOTS).prompt_ids


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt() -> None:
    tokenizer = ToyTokenizer(adds_eos=True)
    prompt = encode(QUERY, tokenizer)
    assert prompt.prompt_ids == encode(QUERY, TOKENIZER).prompt_ids
    assert prompt.answer_ids.count(tokenizer.eos_token_id) == 1


def test_a_tokenizer_that_begins_every_text_begins_the_prompt_and_not_the_answer() -> None:
    tokenizer = ToyTokenizer(bos=True)
    prompt, bos = encode(QUERY, tokenizer, SHOTS), tokenizer.eos_token_id - 1
    assert prompt.prompt_ids[0] == bos and [*prompt.prompt_ids, *prompt.answer_ids].count(bos) == 1


def test_a_prompts_length_is_what_the_model_reads_in_training() -> None:
    prompt = encode(QUERY, TOKENIZER)
    assert len(prompt) == len(prompt.prompt_ids) + len(prompt.answer_ids)


def test_more_shots_make_a_longer_prompt() -> None:
    lengths = [len(encode(QUERY, TOKENIZER, TRAIN[:count])) for count in range(4)]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))


def sized(identity: str, prompt: int, answer: int) -> Prompt:
    return Prompt(Example(identity, "nl", "code"), [0] * prompt, [0] * answer)


def test_prompts_that_just_fit_pass() -> None:
    check_fits([sized("a", 90, 10), sized("b", 1, 99)], 100)
    check_fits([sized("a", 90, 500)], 100, max_new_tokens=10)
    check_fits([], 100)


def test_a_prompt_too_long_names_the_longest_example_and_the_remedy() -> None:
    prompts = [sized("fits", 10, 10), sized("long", 95, 10), sized("longest", 100, 10)]
    with pytest.raises(ValueError) as caught:
        check_fits(prompts, 100)
    assert str(caught.value) == (
        "prompt and answer must fit the model's context of 100 tokens but example longest needs 110 (2 of 3 examples "
        "do not fit); lower num_shots or max_new_tokens, or leave such examples out"
    )


def test_generation_needs_room_for_its_longest_answer() -> None:
    with pytest.raises(ValueError, match="example a needs 101"):
        check_fits([sized("a", 91, 1)], 100, max_new_tokens=10)


def test_the_same_seed_picks_the_same_shots() -> None:
    assert pick_shots(TRAIN, 8, icl_seed=42) == pick_shots(tuple(TRAIN), 8, icl_seed=42)


def test_the_shots_of_a_seed_never_change_from_one_release_to_the_next() -> None:
    assert [shot.id for shot in pick_shots(TRAIN, 4, icl_seed=42)] == ["40", "7", "1", "47"]


def test_another_seed_picks_other_shots() -> None:
    assert pick_shots(TRAIN, 8, icl_seed=1) != pick_shots(TRAIN, 8, icl_seed=2)


def test_shots_are_different_training_examples() -> None:
    shots = pick_shots(TRAIN, 50, icl_seed=42)
    assert len(set(shots)) == 50 and set(shots) == set(TRAIN)


def test_no_shots_are_an_empty_list() -> None:
    assert pick_shots(TRAIN, 0, icl_seed=42) == []


def test_more_shots_than_training_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="num_shots must be at most the 50 training examples but got 51"):
        pick_shots(TRAIN, 51, icl_seed=42)


def test_shots_of_a_querys_own_depend_on_seed_and_query_only() -> None:
    own = [pick_shots_for(query, TRAIN, 8, icl_seed=42) for query in TRAIN[:5]]
    assert own == [pick_shots_for(query, TRAIN, 8, icl_seed=42) for query in TRAIN[:5]]
    assert len({tuple(shots) for shots in own}) == 5
    assert own[0] != pick_shots_for(TRAIN[0], TRAIN, 8, icl_seed=43)
    assert [shot.id for shot in pick_shots_for(QUERY, TRAIN, 4, icl_seed=42)] == ["22", "21", "4", "3"]


# Forms


def test_corrected_prompts_are_the_same_in_training_and_in_generation_for_every_method() -> None:
    kinds = [(trained, t5, training) for trained in (True, False) for t5 in (True, False) for training in (True, False)]
    texts = {render("a", SHOTS, form_of("corrected", *kind)) for kind in kinds}
    assert texts == {render("a", SHOTS)}


@pytest.mark.parametrize(("is_encoder_decoder", "end"), [(False, ""), (True, "<extra_id_0>")])
def test_the_papers_untuned_prompts_stand_in_python_fences(is_encoder_decoder: bool, end: str) -> None:
    form = form_of("paper", False, is_encoder_decoder)
    assert render(QUERY.nl, SHOTS[:1], form) == (
        "### Instruction:\nsort `y`\n### Response:\n```python\nsorted(y)\n```\n\n"
        "### Instruction:\nreverse a list `x`\n### Response:\n```python\n" + end
    )
    assert form.stop == ("```",)


@pytest.mark.parametrize(
    ("is_encoder_decoder", "training", "before", "end"),
    [
        (False, True, "", ""),
        (False, False, "\n", ""),
        (True, True, "Generate Python code: ", ""),
        (True, False, "\n", "<extra_id_0>"),
    ],
)
def test_the_papers_tuned_prompts_differ_between_training_and_inference(
    is_encoder_decoder: bool, training: bool, before: str, end: str
) -> None:
    form = form_of("paper", True, is_encoder_decoder, training)
    assert render("a", (), form) == f"{before}### Instruction:\na\n### Response:\n{end}"
    assert form.stop is None


@pytest.mark.parametrize(("answer", "length"), [(10, 10), (64, 64), (65, 64), (200, 64)])
def test_the_papers_answers_are_cut_and_keep_their_end(answer: int, length: int) -> None:
    prompt = Prompt(QUERY, [1] * 5, [*range(answer - 1), -1])
    cut = cut_as_paper(prompt, 64)
    assert cut.answer_ids == [*range(length - 1), -1]
    assert cut.prompt_ids == prompt.prompt_ids


@pytest.mark.parametrize(
    ("prompt", "answer", "new_tokens", "kept"),
    [(60, 60, 64, 60), (80, 60, 64, 68), (80, 30, 64, 80), (300, 64, 64, 64), (100, 200, 128, 64), (100, 50, 128, 100)],
)
def test_the_papers_prompt_and_answer_have_128_or_192_tokens(
    prompt: int, answer: int, new_tokens: int, kept: int
) -> None:
    cut = cut_as_paper(sized("a", prompt, answer), new_tokens)
    assert len(cut.prompt_ids) == kept and len(cut) <= 64 + new_tokens


def test_the_papers_encoder_reads_64_tokens_and_its_end() -> None:
    cut = cut_as_paper(Prompt(QUERY, [*range(99), -1], [*range(99), -1]), 64, is_encoder_decoder=True)
    assert cut.prompt_ids == cut.answer_ids == [*range(63), -1]


# Shots that do not fit


def test_shots_are_dropped_from_the_far_end_until_the_rest_fits() -> None:
    lengths = [len(encode(QUERY, TOKENIZER, TRAIN[:count]).prompt_ids) for count in range(9)]
    for kept in range(9):
        prompt = encode_in_room(QUERY, TOKENIZER, TRAIN[:8], lengths[kept])
        assert prompt.prompt_ids == encode(QUERY, TOKENIZER, TRAIN[:kept]).prompt_ids
        assert (prompt.shots, prompt.dropped_shots) == (tuple(shot.id for shot in TRAIN[:kept]), 8 - kept)


def test_the_nearest_shots_are_kept_whichever_stands_last() -> None:
    room = len(encode(QUERY, TOKENIZER, TRAIN[:3]).prompt_ids)
    prompt = encode_in_room(QUERY, TOKENIZER, TRAIN[:8], room, nearest_last=True)
    assert prompt.shots == ("2", "1", "0")
    assert TOKENIZER.decode(prompt.prompt_ids) == render(QUERY.nl, TRAIN[2::-1])


def test_without_a_limit_every_shot_stands_in_the_prompt() -> None:
    prompt = encode_in_room(QUERY, TOKENIZER, TRAIN[:16], None)
    assert len(prompt.shots) == 16 and prompt.dropped_shots == 0


@pytest.mark.parametrize("room", [1, 0, -5])
def test_a_query_that_does_not_fit_by_itself_is_left_to_be_refused(room: int) -> None:
    prompt = encode_in_room(QUERY, TOKENIZER, TRAIN[:4], room)
    assert prompt.prompt_ids == encode(QUERY, TOKENIZER).prompt_ids and prompt.dropped_shots == 4
