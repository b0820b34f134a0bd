"""The prompt that every method reads, as text and as token ids."""

from itertools import pairwise
from typing import Any, ClassVar

import pytest
from metaspace import metaspace_tokenizer
from tokenizers import Tokenizer

from raypeft.data import DATASETS
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder, cut_as_paper
from raypeft.prompting.forms import NAMED, render
from raypeft.records import Example, Form, Prompt

QUERY = Example("q", "reverse a list `x`", "x[::-1]")
SHOTS = [Example("1", "sort `y`", "sorted(y)"), Example("2", "sum `z`", "sum(z)")]
TRAIN = [Example(str(number), f"add {number}", f"x + {number}") for number in range(50)]


class ToyTokenizer:
    """The toy model's own tokenizer file behind the calls that prompts make of a Transformers tokenizer."""

    all_special_tokens: ClassVar[list[str]] = []
    added_tokens_decoder: ClassVar[dict[int, Any]] = {}

    def __init__(self, bos: bool = False, adds_eos: bool = False) -> None:
        self.file = Tokenizer.from_file(str(TOY_FOLDER / "tokenizer.json"))
        self.eos_token_id, self.bos = self.file.get_vocab_size() + 1, bos
        self.adds_eos = adds_eos

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = self.file.encode(text, add_special_tokens=False).ids
        before = [self.eos_token_id - 1] if self.bos and add_special_tokens else []
        after = [self.eos_token_id] if self.adds_eos and add_special_tokens else []
        return {"input_ids": [*before, *ids, *after]}

    def __len__(self) -> int:
        return int(self.file.get_vocab_size()) + 2

    def decode(self, ids: list[int]) -> str:
        return str(self.file.decode(ids, skip_special_tokens=False))


TOKENIZER: Any = ToyTokenizer()


def sized(identity: str, prompt: int, answer: int) -> Prompt:
    return Prompt(Example(identity, "nl", "code"), [0] * prompt, [0] * answer)


def test_prompt_and_answer_say_what_the_text_says() -> None:
    prompt = Encoder(TOKENIZER).encode(QUERY, SHOTS)
    assert TOKENIZER.decode(prompt.prompt_ids) == render(QUERY, SHOTS)
    assert TOKENIZER.decode(prompt.answer_ids[:-1]) == QUERY.code


def test_an_answer_ends_with_the_end_of_sequence_token_and_holds_no_other() -> None:
    ids = Encoder(TOKENIZER).encode(QUERY).answer_ids
    assert ids[-1] == TOKENIZER.eos_token_id and ids.count(TOKENIZER.eos_token_id) == 1


@pytest.mark.parametrize("code", ["x", "", "\n  x", "### Response:\n", " x[::-1]"])
def test_the_prompts_tokens_do_not_depend_on_the_answer(code: str) -> None:
    answered = Encoder(TOKENIZER).encode(Example("q", QUERY.nl, code), SHOTS)
    assert answered.prompt_ids == Encoder(TOKENIZER).encode(QUERY, SHOTS).prompt_ids


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt() -> None:
    tokenizer = ToyTokenizer(adds_eos=True)
    prompt = Encoder(tokenizer).encode(QUERY)
    assert prompt.prompt_ids == Encoder(TOKENIZER).encode(QUERY).prompt_ids
    assert prompt.answer_ids.count(tokenizer.eos_token_id) == 1


def test_a_tokenizer_that_begins_every_text_begins_the_prompt_and_not_the_answer() -> None:
    tokenizer = ToyTokenizer(bos=True)
    prompt, bos = Encoder(tokenizer).encode(QUERY, SHOTS), tokenizer.eos_token_id - 1
    assert prompt.prompt_ids[0] == bos and [*prompt.prompt_ids, *prompt.answer_ids].count(bos) == 1


def test_a_prompts_length_is_what_the_model_reads_in_training() -> None:
    prompt = Encoder(TOKENIZER).encode(QUERY)
    assert len(prompt) == len(prompt.prompt_ids) + len(prompt.answer_ids)


def test_more_shots_make_a_longer_prompt() -> None:
    lengths = [len(Encoder(TOKENIZER).encode(QUERY, TRAIN[:count])) for count in range(4)]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))


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


def test_shots_are_dropped_from_the_far_end_until_the_rest_fits() -> None:
    lengths = [len(Encoder(TOKENIZER).encode(QUERY, TRAIN[:count]).prompt_ids) for count in range(9)]
    for kept in range(9):
        prompt = Encoder(TOKENIZER).encode_in_room(QUERY, TRAIN[:8], lengths[kept])
        assert prompt.prompt_ids == Encoder(TOKENIZER).encode(QUERY, TRAIN[:kept]).prompt_ids
        assert (prompt.shots, prompt.dropped_shots) == (tuple(shot.id for shot in TRAIN[:kept]), 8 - kept)


def test_the_nearest_shots_are_kept_whichever_stands_last() -> None:
    room = len(Encoder(TOKENIZER).encode(QUERY, TRAIN[:3]).prompt_ids)
    prompt = Encoder(TOKENIZER).encode_in_room(QUERY, TRAIN[:8], room, nearest_last=True)
    assert prompt.shots == ("2", "1", "0")
    assert TOKENIZER.decode(prompt.prompt_ids) == render(QUERY, TRAIN[2::-1])


def test_without_a_limit_every_shot_stands_in_the_prompt() -> None:
    prompt = Encoder(TOKENIZER).encode_in_room(QUERY, TRAIN[:16], None)
    assert len(prompt.shots) == 16 and prompt.dropped_shots == 0


@pytest.mark.parametrize("room", [1, 0, -5])
def test_a_query_that_does_not_fit_by_itself_is_left_to_be_refused(room: int) -> None:
    prompt = Encoder(TOKENIZER).encode_in_room(QUERY, TRAIN[:4], room)
    assert prompt.prompt_ids == Encoder(TOKENIZER).encode(QUERY).prompt_ids and prompt.dropped_shots == 4


METASPACE: Any = metaspace_tokenizer()


@pytest.mark.parametrize("form", [NAMED["plain"], NAMED["fenced"], Form("def f(x):\n", "", "{code}")])
@pytest.mark.parametrize("code", ["x[::-1]", "    return x[::-1]", "\nx", " x", ""])
def test_prompt_and_answer_are_the_tokens_of_the_whole_text_and_the_prompt_is_that_of_generation(
    form: Form, code: str
) -> None:
    encoder = Encoder(METASPACE, form=form)
    prompt = encoder.encode(Example("q", "a", code), ())
    whole = encoder.text(prompt.example) + form.answer.format(code=code)
    assert [*prompt.prompt_ids, *prompt.answer_ids] == [*METASPACE(whole)["input_ids"], METASPACE.eos_token_id]
    assert prompt.prompt_ids == encoder.encode(Example("q", "a", "other")).prompt_ids


def test_the_paper_tokenised_an_answer_apart_with_sentencepieces_space_before_it() -> None:
    whole, apart = (Encoder(METASPACE, apart=apart).encode(QUERY) for apart in (False, True))
    assert whole.prompt_ids == apart.prompt_ids
    assert METASPACE.convert_ids_to_tokens(apart.answer_ids)[0].startswith("▁")
    assert not METASPACE.convert_ids_to_tokens(whole.answer_ids)[0].startswith("▁")


def test_where_a_token_would_cross_the_border_the_text_stays_and_the_prompt_is_that_of_generation() -> None:
    encoder = Encoder(METASPACE, form=Form("A: ", "", "{code}"))
    prompt = encoder.encode(Example("q", "a", "x"))
    assert METASPACE("A: x")["input_ids"][: len(prompt.prompt_ids)] != prompt.prompt_ids, "else nothing crosses"
    assert prompt.prompt_ids == METASPACE("A: ")["input_ids"]
    assert METASPACE.decode([*prompt.prompt_ids, *prompt.answer_ids[:-1]]) == "A: x"


@pytest.mark.parametrize("dataset", ["toy", "toy_apps"])
@pytest.mark.parametrize("form", ["plain", "fenced"])
def test_of_byte_level_tokens_no_id_depends_on_whether_both_are_tokenised_in_one_piece(dataset: str, form: str) -> None:
    encoders = [Encoder(TOKENIZER, False, NAMED[form], apart) for apart in (False, True)]
    examples = [each for split in DATASETS[dataset].load(None, None).values() for each in split]
    differing = [each.id for each in examples if encoders[0].encode(each) != encoders[1].encode(each)]
    assert len(examples) > 500 and differing == []


@pytest.mark.parametrize("code", ["    return x", "\n  x", " x", "x"])
@pytest.mark.parametrize("form", [NAMED["plain"], Form("A: ", "", "{code}")])
def test_of_byte_level_tokens_an_answer_keeps_its_ids_at_a_border_that_a_token_would_cross(
    code: str, form: Form
) -> None:
    whole, apart = (Encoder(TOKENIZER, False, form, apart).encode(Example("q", "a", code)) for apart in (False, True))
    assert whole == apart
