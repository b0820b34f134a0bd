"""Chat templates as model families have them, shortened, and the toy model's tokenizer with one of them."""

from typing import Any

from transformers import AutoTokenizer

from raypeft.models.table import TOY_FOLDER

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Of Qwen and SmolLM2: the end of a turn is a token of its own."""
QWEN3 = CHATML.replace(
    "{{ message['content'] }}",
    "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] }}",
)
"""Of Qwen3: the last answer has empty thoughts before it, with which the template does not ask."""
LLAMA2 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'].strip() }} [/INST]"
    "{% else %} {{ message['content'].strip() }} <|end|>{% endif %}{% endfor %}"
)
"""Of Llama 2 and CodeLlama: spaces around the answer, and the end of sequence ends a turn."""


def chat_tokenizer(template: str = CHATML) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    if "<|im_start|>" in template:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    return tokenizer
