"""Data stays text: what spells a special token there is none, and what a tokenizer loses is known."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from raypeft.data import DATASETS
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.plain_text import Marks, is_kept, token_ids
from raypeft.records import Example, Form

TOY = AutoTokenizer.from_pretrained(TOY_FOLDER)
END, PAD = TOY.convert_tokens_to_ids(["<|end|>", "<|pad|>"])


@pytest.fixture(scope="module")
def t5_like() -> PreTrainedTokenizerFast:
    """A tokenizer that, as T5's, has no braces, has no newline, and ends every text itself."""
    signs = ["\u2581", *"abcdefghijklmnopqrstuvwxyz0123456789=()[],.:"]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((sign, -2.0) for sign in signs)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=2))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def ids_of(tokenizer: PreTrainedTokenizerFast, data: str, around: str = "{}", ends: bool = True) -> list[int]:
    """The token ids of a text of the data inside another."""
    marks = Marks.of(tokenizer, [data], around)
    return token_ids(tokenizer, around.format(marks.hide(data)), marks, ends)


def test_a_special_token_that_the_data_spells_is_text() -> None:
    text = "split `x` at <|end|> and <|pad|>"
    ids = ids_of(TOY, text)
    assert END not in ids and PAD not in ids
    assert TOY.decode(ids, skip_special_tokens=True) == text


def test_a_special_token_of_the_template_is_one() -> None:
    for data in ("a <|end|> b", "<|end|>"):
        ids = ids_of(TOY, data, "<|pad|>{}<|end|>")
        assert (ids[0], ids[-1]) == (PAD, END)
        assert END not in ids[1:-1]


def test_an_added_token_that_is_special_is_text_though_the_tokenizer_has_no_name_for_it() -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    tokenizer.add_tokens([AddedToken("<|eot_id|>", special=True), AddedToken("<tool_call>", special=False)])
    turn, call = tokenizer.convert_tokens_to_ids(["<|eot_id|>", "<tool_call>"])
    assert turn not in ids_of(tokenizer, "print('<|eot_id|>')")
    assert ids_of(tokenizer, "a", "{}<|eot_id|>")[-1] == turn
    assert is_kept(tokenizer, "print('<|eot_id|>')")
    assert call in ids_of(tokenizer, "x = '<tool_call>'"), "it is no control token"


def test_texts_without_special_tokens_are_tokenised_as_ever() -> None:
    for example in DATASETS["toy"].load(None, None)["test"][:50]:
        assert ids_of(TOY, example.nl) == TOY(example.nl)["input_ids"]


def test_a_tokenizer_that_ends_every_text_ends_this_one_too(t5_like: PreTrainedTokenizerFast) -> None:
    assert ids_of(t5_like, "a </s> b")[-1] == 1
    assert ids_of(t5_like, "a </s> b").count(1) == 1
    assert 1 not in ids_of(t5_like, "a </s> b", ends=False)


@pytest.mark.parametrize("form", [Form(), Form(before="<|pad|>")])
def test_an_example_that_spells_the_end_of_sequence_is_read_and_answered_whole(form: Form) -> None:
    example = Example("a", "print <|end|>", "print('<|end|>')")
    prompt = Encoder(TOY, form=form).encode(example, [Example("b", "say <|end|>", "x = '<|end|>'")])
    assert END not in prompt.prompt_ids
    assert prompt.answer_ids.count(END) == 1
    assert TOY.decode(prompt.answer_ids, skip_special_tokens=True) == example.code


@pytest.mark.parametrize(("text", "kept"), [("a = []", True), ("a = {}", False), (" a = []\n", True), ("a\\nb", False)])
def test_a_text_is_kept_if_its_tokens_give_it_back(t5_like: PreTrainedTokenizerFast, text: str, kept: bool) -> None:
    assert is_kept(t5_like, text) == kept


@pytest.mark.parametrize("text", ["x = {'é': 1}\n\n    y", "say('<|end|>')"])
def test_a_byte_level_tokenizer_keeps_everything(text: str) -> None:
    assert is_kept(TOY, text)
