"""A trial as a command names it."""

import pytest

from raypeft.results.chosen import chosen

ROWS = [{"id": "aaaa"}, {"id": "aabb"}, {"id": "cccc"}]


def test_the_beginning_of_an_id_is_enough_where_one_trial_has_it() -> None:
    assert chosen(ROWS, "aab", "here") == {"id": "aabb"}


@pytest.mark.parametrize(
    ("given", "told"), [("aa", "several have it"), ("x", "none has it"), ("ccc1", "did you mean cccc")]
)
def test_an_id_of_no_trial_or_of_several_is_refused(given: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"of here \(aaaa, aabb, cccc\) but got {given}: .*{told}"):
        chosen(ROWS, given, "here")
