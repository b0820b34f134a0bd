"""Splits that are made where a dataset has no files for them."""

import pytest

from raypeft.data.declared.declaration import Split
from raypeft.data.declared.splits import complete, derived_stop
from raypeft.records import Example, Splits


def examples(count: int) -> list[Example]:
    return [Example(str(number), f"task {number // 2}", f"code {number}") for number in range(count)]


def ids(splits: Splits) -> dict[str, set[str]]:
    return {split: {each.id for each in found} for split, found in splits.items()}


def test_no_prompt_stands_in_two_splits_and_no_row_is_lost() -> None:
    rows = [*examples(200), Example("x", "  TASK\t3 ", "other code")]
    splits = complete({"train": rows}, Split())
    assert sum(len(found) for found in splits.values()) == 201
    prompts = {split: {" ".join(each.nl.casefold().split()) for each in found} for split, found in splits.items()}
    assert not prompts["train"] & prompts["test"] and not prompts["train"] & prompts["validation"]
    assert [len(prompts[split]) for split in ("train", "validation", "test")] == [80, 10, 10]


def test_the_order_of_the_rows_has_no_influence() -> None:
    rows = examples(60)
    assert ids(complete({"train": rows}, Split())) == ids(complete({"train": rows[::-1]}, Split()))


def test_another_seed_makes_other_splits() -> None:
    rows = examples(60)
    assert ids(complete({"train": rows}, Split(seed=1))) != ids(complete({"train": rows}, Split()))


def test_splits_that_are_given_stay_as_they_are() -> None:
    test = [Example("t", "task 1", "x")]
    splits = complete({"train": examples(40), "test": test}, Split(validation=0.25))
    assert splits["test"] == test
    assert len({each.nl for each in splits["validation"]}) == 5


def test_a_share_of_nothing_makes_no_split() -> None:
    assert complete({"train": examples(40)}, Split(validation=0))["validation"] == []


def test_a_small_dataset_has_at_least_one_prompt_in_each_split() -> None:
    splits = complete({"train": examples(6)}, Split())
    assert [len({each.nl for each in splits[split]}) for split in ("train", "validation", "test")] == [1, 1, 1]


def test_too_few_prompts_are_told() -> None:
    with pytest.raises(ValueError, match=r"at least 3 different prompts, .* but has 2 in 4 rows"):
        complete({"train": examples(4)}, Split())


def test_a_dataset_of_test_examples_alone_has_empty_other_splits() -> None:
    splits = complete({"test": examples(2)}, Split())
    assert (splits["train"], splits["validation"], len(splits["test"])) == ([], [], 2)


@pytest.mark.parametrize(("codes", "stop"), [(["x", "y\n"], "\n"), (["x", "y\nz"], "\n### Instruction:")])
def test_an_untuned_answer_ends_with_its_line_only_where_all_references_have_one(codes: list[str], stop: str) -> None:
    assert derived_stop({"train": [Example("0", "q", code) for code in codes]}) == (stop,)


def test_chats_that_begin_alike_stand_in_one_split() -> None:
    rows = [Example(f"{number}.{turn}", f"go on {turn}", "x", earlier=(Example("", f"task {number}", "y"),))
            for number in range(30) for turn in range(3)]  # fmt: skip
    splits = complete({"train": rows}, Split())
    numbers = [{each.id.partition(".")[0] for each in found} for found in splits.values()]
    assert sum(map(len, numbers)) == len(set.union(*numbers)) == 30


@pytest.mark.parametrize("split", [Split(validation=0.5, test=0.49), Split(validation=0.49, test=0.5)])
def test_shares_that_are_rounded_up_leave_a_prompt_for_training(split: Split) -> None:
    splits = complete({"train": examples(8)}, split)
    assert sorted(len({each.nl for each in found}) for found in splits.values()) == [1, 1, 2]
    assert splits["train"]
