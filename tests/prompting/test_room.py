"""What a model has room for: its context, and its embedding."""

import pytest

from raypeft.prompting.room import Room, check_ids
from raypeft.records import Example, Prompt


def sized(example_id: str, prompt: int, answer: int = 1) -> Prompt:
    return Prompt(Example(example_id, "nl", "code"), [0] * prompt, [0] * answer)


def test_a_decoders_prompt_answer_and_virtual_tokens_share_the_context() -> None:
    room = Room(100, virtual_tokens=20)
    assert room.fits(70, 10)
    assert not room.fits(71, 10)
    assert room.beside(10) == 70


def test_both_sides_of_an_encoder_decoder_have_the_context_to_themselves() -> None:
    room = Room(100, is_encoder_decoder=True)
    assert room.fits(100, 100)
    assert not room.fits(101, 1)
    assert not room.fits(1, 101)
    assert room.beside(90) == 100


def test_without_a_context_everything_fits() -> None:
    assert Room().fits(10**6, 10**6)
    assert Room().beside(10) is None


def test_the_problem_names_the_longest_example_and_the_remedy() -> None:
    assert Room(100).problem([sized("fits", 10), sized("long", 95), sized("longest", 100)], 10, 3) == (
        "prompt and answer must fit the model's context of 100 tokens but example longest needs 110 (2 of 3 examples "
        "do not fit); lower num_shots (3) or max_new_tokens (10)"
    )
    problem = Room(100, virtual_tokens=20).problem([sized("long", 95)], 10, 3)
    assert problem.endswith("; lower num_shots (3) or num_virtual_tokens (20) or max_new_tokens (10)")


def test_without_shots_the_remedy_is_not_to_lower_them() -> None:
    assert Room(100).problem([sized("long", 95)], 10, 0).endswith("; lower max_new_tokens (10)")


def test_an_answer_that_does_not_fit_has_no_say_in_the_length_of_answers() -> None:
    lengths = [(10, 5), (10, 8), (10, 95)]
    assert Room(100).for_answers(lengths) == 8
    assert Room(100, is_encoder_decoder=True).for_answers(lengths) == Room().for_answers(lengths) == 95
    assert Room(100, virtual_tokens=84).for_answers(lengths) == 5


def test_a_long_answer_takes_no_room_from_more_examples_than_need_it() -> None:
    assert Room(100).for_answers([(5, 90), (20, 3), (30, 4), (5, 2)]) == 4
    assert Room(100).for_answers([(5, 90), (10, 3), (9, 4)]) == 90


def test_where_no_example_fits_the_longest_answer_counts_and_without_examples_the_end_of_one() -> None:
    assert Room(100).for_answers([(99, 5), (10, 95)]) == 95
    assert Room(100).for_answers([]) == 1


def test_a_token_without_an_embedding_is_named() -> None:
    class Tokenizer:
        def convert_ids_to_tokens(self, token: int) -> str:
            return f"<{token}>"

    check_ids([sized("a", 3)], 1, Tokenizer())
    with pytest.raises(ValueError, match="has 9 and example a has '<9>' with the id 9"):
        check_ids([Prompt(Example("a", "nl", "code"), [1, 2], [3, 9])], 9, Tokenizer())
