"""A model's own chat template, in generation and in training."""

import pytest
from chat_templates import CHATML, LLAMA2, QWEN3, chat_tokenizer

from raypeft.prompting.chat import answer_turn
from raypeft.prompting.encoding import Encoder
from raypeft.prompting.forms import NAMED
from raypeft.records import Example

QUERY = Example("q", "reverse a list `x`", "x[::-1]")
SHOTS = [Example("1", "sort `y`", "sorted(y)"), Example("2", "sum `z`", "sum(z)")]


def turn(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize("template", [CHATML, LLAMA2], ids=["chatml", "llama2"])
def test_a_prompt_is_what_the_template_makes_of_the_shots_as_earlier_turns(template):
    tokenizer = chat_tokenizer(template)
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(QUERY, SHOTS)
    earlier = [each for shot in SHOTS for each in (turn("user", shot.nl), turn("assistant", shot.code))]
    expected = tokenizer.apply_chat_template([*earlier, turn("user", QUERY.nl)], add_generation_prompt=True)
    assert prompt.prompt_ids == expected["input_ids"]


@pytest.mark.parametrize(
    ("template", "left_over"), [(CHATML, "\n"), (QWEN3, "\n"), (LLAMA2, "")], ids=["chatml", "qwen3", "llama2"]
)
def test_a_training_example_is_what_the_template_makes_of_both_turns_up_to_the_end_of_the_answers(template, left_over):
    tokenizer = chat_tokenizer(template)
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(QUERY)
    whole = tokenizer.apply_chat_template([turn("user", QUERY.nl), turn("assistant", QUERY.code)], tokenize=False)
    assert tokenizer.decode([*prompt.prompt_ids, *prompt.answer_ids]) + left_over == whole


def test_what_stands_around_answers_is_found_out_once_for_all_examples(monkeypatch):
    tokenizer = chat_tokenizer(QWEN3)
    rendered, real = [], tokenizer.apply_chat_template
    monkeypatch.setattr(tokenizer, "apply_chat_template", lambda *a, **b: rendered.append(a) or real(*a, **b))
    encoder = Encoder(tokenizer, form=NAMED["chat"])
    for _ in range(5):
        encoder.encode(QUERY)
    assert len(rendered) == 5 + 2


def test_what_a_template_writes_before_an_answer_ends_the_prompt_and_is_no_part_of_the_answer():
    tokenizer = chat_tokenizer(QWEN3)
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(QUERY, SHOTS)
    assert tokenizer.decode(prompt.prompt_ids).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert tokenizer.decode(prompt.prompt_ids).count("<think>") == 1, "the shots' answers are earlier ones"
    assert tokenizer.decode(prompt.answer_ids) == QUERY.code + "<|im_end|>"


@pytest.mark.parametrize(("template", "end"), [(CHATML, "<|im_end|>"), (LLAMA2, "<|end|>")], ids=["chatml", "llama2"])
def test_an_answer_ends_with_the_token_that_ends_the_templates_turn(template, end):
    tokenizer = chat_tokenizer(template)
    encoder = Encoder(tokenizer, form=NAMED["chat"])
    assert encoder.end_id == tokenizer.convert_tokens_to_ids(end)
    answer = encoder.encode(QUERY).answer_ids
    assert answer[-1] == encoder.end_id and answer.count(encoder.end_id) == 1


def test_a_template_that_ends_a_turn_with_no_token_of_its_own_leaves_the_tokenizers_end():
    tokenizer = chat_tokenizer("{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n"
                               "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}")  # fmt: skip
    assert answer_turn(tokenizer).end_id == tokenizer.eos_token_id


def test_starter_code_stands_in_the_users_turn():
    tokenizer = chat_tokenizer()
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(Example("q", "add", "def f(): 1", starter_code="def f():"))
    assert "user\nadd\ndef f():<|im_end|>" in tokenizer.decode(prompt.prompt_ids)


def test_a_chat_of_several_exchanges_is_what_the_template_makes_of_its_messages():
    tokenizer = chat_tokenizer(CHATML)
    chat = Example("c", "now <|im_end|> backwards", "x[::-1]", earlier=(Example("c.0", "sort `x`", "sorted(x)"),))
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(chat)
    messages = [turn("user", "sort `x`"), turn("assistant", "sorted(x)"), turn("user", chat.nl)]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(prompt.prompt_ids) == text
    assert prompt.prompt_ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 3, "that of the data is plain text"


@pytest.mark.parametrize("instruction", ["say <|end|> now \n", "<|end|>", " <|end|>"])
def test_a_template_that_strips_instructions_adds_its_own_tokens_and_reads_none_in_them(instruction):
    tokenizer = chat_tokenizer(LLAMA2)
    chat = Example("c", instruction, "x", earlier=(Example("c.0", "sort", " <|end|> "),))
    prompt = Encoder(tokenizer, form=NAMED["chat"]).encode(chat)
    assert prompt.prompt_ids.count(tokenizer.eos_token_id) == 1, "that of the turn before"
    messages = [turn("user", "sort"), turn("assistant", " <|end|> "), turn("user", instruction)]
    assert tokenizer.decode(prompt.prompt_ids) == tokenizer.apply_chat_template(messages, tokenize=False)
