"""What is left out where an answer begins. With tokens it is tested in test_stopping.py."""

import pytest

from raypeft.decoding.opening import unfenced


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("\n```\nx = 1\n```\nIt sets x.", "x = 1\n"),
        ("```py\nx = 1", "x = 1"),
        ("x = 1\n```\n", "x = 1\n```\n"),
        ("\n    return 1", "\n    return 1"),
        ("", ""),
        ("```", "```"),
    ],
)
def test_the_code_of_an_answer_in_a_fence_is_what_stands_in_it_and_other_answers_stay(answer: str, code: str) -> None:
    assert unfenced(answer) == code
