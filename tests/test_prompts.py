"""The prompt that every method reads, as text and as token ids."""

from itertools import pairwise
from typing import Any

import pytest
from tokenizers import Tokenizer

from raypeft.models import TOY_FOLDER
from raypeft.prompts import check_fits, encode, pick_shots, render
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
