"""What must not leave the machine is hidden in a text, and nothing else."""

from pathlib import Path

import pytest

from raypeft.sharing.private import cleaned


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.setenv("HF_TOKEN", "a-token-of-an-enterprise-hub")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(Path(__file__)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://key:secret@bucket/data", "s3://***@bucket/data"),
        ("https://host/f?token=abc&x=1", "https://host/f?token=***&x=1"),
        ("with hf_abcdefghijklmnopqrstuvwxyz in it", "with *** in it"),
        ("a-token-of-an-enterprise-hub", "***"),
        ("key 0123456789abcdef0123456789abcdef.", "key ***."),
        ("/home/jane/data/x.jsonl", "~/data/x.jsonl"),
        ('{"path": "/home/jane/data"}', '{"path": "~/data"}'),
    ],
)
def test_tokens_passwords_and_the_home_folder_are_hidden(text: str, shown: str) -> None:
    assert cleaned(text) == shown


@pytest.mark.parametrize(
    "text",
    ["/home/janet/data", "/data/home/jane/x", "s3://bucket/data?region=eu-west-1", "hf://owner/name", "a@b: c", "false",
     "max_new_tokens: 16", str(Path(__file__)), "hf_model"],
)  # fmt: skip
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cleaned(text) == text
