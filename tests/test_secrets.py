"""Secrets are hidden in messages, wherever they are stored and whatever form they have."""

from pathlib import Path

import pytest

from raypeft.gpu import is_out_of_memory
from raypeft.secrets import hidden, hidden_in_message, without_password
from raypeft.trial.run import failure


@pytest.fixture(autouse=True)
def stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "planted-in-a-variable")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:planted%20in%20a%20url@host:5000")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password planted-in-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_password = planted-in-mlflow\n")


@pytest.mark.parametrize(
    "secret",
    ["planted-in-a-variable", "planted%20in%20a%20url", "planted in a url", "planted-in-netrc", "planted-in-mlflow"],
)
def test_what_this_machine_stores_as_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    assert hidden(f"401 for {secret}.") == "401 for ***."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s3cret@host/api refused", "http://***@host/api refused"),
        ("http://me:p@s/s@host/x", "http://***@host/x"),
        ("api_key=0abc rejected", "api_key=*** rejected"),
        ('{"token": "0abcdefg", "x": 1}', '{"token": "***", "x": 1}'),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': '***'}"),
        ("Authorization: Basic bWU6cGFzcw==", "Authorization: ***"),
        ("sent bearer abcdefghijk", "sent bearer ***"),
        ("HF_TOKEN=0abcdefg", "HF_TOKEN=***"),
        ("password: hunter2", "password: ***"),
        ("wandb_v1_abcdefghijklmnopqrstuv", "***"),
    ],
)
def test_what_has_the_form_of_a_secret_is_hidden_in_a_message(text: str, shown: str) -> None:
    assert hidden_in_message(text) == shown


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:9 refused", "s3://bucket/a@b", "max_new_tokens=16",
     "pad_token='<pad>'", "eos_token_id: 12345678",
     "eos_token=endoftext", "tokens: 4096 of 2048", "tokenizer: no_such_tokenizer", "unexpected token: x"],
)  # fmt: skip
def test_other_messages_stay_as_they_are(text: str) -> None:
    assert hidden_in_message(text) == text


def test_the_error_of_a_row_has_no_secret() -> None:
    error = ValueError("planted-in-a-variable was refused")
    assert not is_out_of_memory(error) and failure(error, 1.0)["error"] == "ValueError: *** was refused"


def test_a_url_has_neither_password_nor_signature() -> None:
    assert without_password("s3://key:word@bucket/x") == without_password("s3://a:b@bucket/x") == "s3://***@bucket/x"
    assert without_password("https://h/x?sig=abc&y=1") == "https://h/x?sig=***&y=1"
