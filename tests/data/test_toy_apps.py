"""The embedded dataset of tested problems: that its tests are right, that they can fail, and that nothing leaks."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypeft.data import DATASETS, toy_apps
from raypeft.data.toy_apps import LEVELS, Problem
from raypeft.data.toy_apps_parts import CHANGES, ENDS, FILTERS, FORMS, WORDS, key, write
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example
from raypeft.sandbox import Limits, Sandbox, SandboxUnavailable

SPLITS = ("train", "validation", "test")
PUBLISHED = "30021138fd02ea3840bc507259c1ce39296a464be9e453f87aa7b9de8d5fd6ce"
DIGEST = """
import hashlib
from raypeft.data import toy_apps
print(hashlib.sha256(repr(toy_apps.load()).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    try:
        made = Sandbox(Limits(memory_mb=256))
    except SandboxUnavailable as error:
        pytest.skip(str(error)[-300:])
    with made:
        yield made


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Example]]:
    return toy_apps.load()


def everything(splits: dict[str, list[Example]]) -> list[Example]:
    return [example for name in SPLITS for example in splits[name]]


def problems(split: str) -> list[Problem]:
    return [problem for _, problem in toy_apps.problems()[split]]


def share_passed(sandbox: Sandbox, problem: Problem, program: str) -> float:
    tests = sandbox.run(program, problem.tests).tests
    return sum(test.passed for test in tests) / len(tests)


def with_end(code: str) -> list[Problem]:
    return [problem for split in SPLITS for problem in problems(split) if problem.parts[-1].code == code]


def test_every_reference_solution_passes_all_its_tests(sandbox, splits):
    failed = [each.id for each in everything(splits) if not sandbox.run(each.code, json.loads(each.tests)).all_passed]
    assert failed == []


def test_a_solution_without_one_of_its_steps_fails_some_test(sandbox):
    passed, tried = [], 0
    for problem in problems("test"):
        for left_out in range(len(problem.parts) - 1):
            kept = [place for place in range(len(problem.parts)) if place != left_out]
            parts, arguments = ([whole[place] for place in kept] for whole in (problem.parts, problem.arguments))
            program = write(problem.form, parts, arguments, "values", problem.tests.get("fn_name", ""))
            tried += 1
            passed += [program] * (share_passed(sandbox, problem, program) == 1.0)
    assert tried > len(problems("test")) // 2
    assert passed == []


def test_counting_distinct_values_passes_some_tests_of_counting_all_and_never_all(sandbox):
    shares = []
    for problem in with_end("len($v)"):
        # The end's own call, not a len(x) among the steps: the first after print or return.
        head, last = problem.code.split("len(", 1)
        shares.append(share_passed(sandbox, problem, f"{head}len(set({last}" + ")"))
    assert 0 < sum(shares) / len(shares) < 1
    assert sum(share == 1.0 for share in shares) < len(shares) // 2


def test_a_maximum_that_knows_no_empty_list_passes_some_tests_and_fails_others(sandbox):
    wrong = [(each, each.code.replace(", default=0", "")) for each in with_end("max($v, default=0)")]
    shares = [share_passed(sandbox, problem, program) for problem, program in wrong]
    assert shares
    assert all(0 < share < 1 for share in shares)


def test_a_condition_off_by_one_passes_some_tests_and_fails_others(sandbox):
    chosen = [each for split in SPLITS for each in problems(split) if each.parts[0].code == "x > $n"]
    shares = [share_passed(sandbox, each, each.code.replace(" > ", " >= ")) for each in chosen]
    assert sum(0 < share < 1 for share in shares) > len(shares) // 2


def test_a_program_that_answers_every_input_alike_passes_at_most_a_third_of_the_tests(splits):
    for example in everything(splits):
        outputs = [json.dumps(output) for output in json.loads(example.tests)["outputs"]]
        assert max(map(outputs.count, outputs)) <= len(outputs) / 3, example.id


def test_no_answer_is_empty():
    for split in SPLITS:
        for problem in problems(split):
            assert all(output not in ("\n", [[]]) for output in problem.tests["outputs"])


def test_every_problem_has_an_input_of_one_element():
    for split in SPLITS:
        for problem in problems(split):
            pool = WORDS.split() if problem.form.kind == "words" else range(toy_apps.SMALLEST, toy_apps.LARGEST + 1)
            alone = [problem.form.encode([value]) for value in pool]
            assert (problem.tests["inputs"][0][0] if problem.form.is_call else problem.tests["inputs"][0]) in alone


def test_no_task_and_no_solution_comes_twice_within_or_across_splits(splits):
    for texts in ([each.nl for each in everything(splits)], [each.code for each in everything(splits)]):
        assert len(set(texts)) == len(texts)


def test_every_test_program_has_neighbours_that_no_train_or_validation_program_has():
    known = {pair for split in ("train", "validation") for problem in problems(split) for pair in problem.pairs}
    assert all(set(problem.pairs) - known for problem in problems("test"))


def test_train_shows_every_part_and_every_form_by_itself():
    shown = {end for problem in problems("train") for pair in problem.pairs for end in pair.split(" -> ")}
    needed = {key(one) for one in (*FORMS, *FILTERS, *CHANGES, *ENDS)}
    assert needed <= shown


def test_train_knows_every_word_of_the_other_splits_but_not_every_phrasing(splits):
    words = {name: {word for each in splits[name] for word in each.nl.split()} for name in SPLITS}
    assert words["test"] | words["validation"] <= words["train"]
    grammars = [one.grammar for one in (*FORMS, *FILTERS, *CHANGES, *ENDS)]
    shares = [[set(toy_apps.phrasings(grammar, is_train)) for is_train in (True, False)] for grammar in grammars]
    assert sum(not train & others for train, others in shares) > len(grammars) // 2


def test_each_split_has_each_level_and_both_kinds_of_tests(splits):
    for name in SPLITS:
        rows = splits[name]
        assert [sum(each.level == level for each in rows) for level in LEVELS] == list(toy_apps.ROWS[name])
        for is_call in (True, False):
            assert any(("fn_name" in json.loads(each.tests)) == is_call for each in rows)


def test_only_call_based_problems_have_starter_code_and_their_solutions_begin_with_it(splits):
    for example in everything(splits):
        name = json.loads(example.tests).get("fn_name")
        assert example.starter_code.startswith(f"def {name}(") if name else example.starter_code == ""
        assert example.code.startswith(example.starter_code)


def test_the_splits_are_those_that_published_results_were_computed_on(splits):
    rows = [
        [name, each.id, each.nl, each.code, each.starter_code, each.level, each.tests]
        for name in SPLITS
        for each in splits[name]
    ]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == PUBLISHED


def test_loading_twice_gives_the_same_rows(splits):
    toy_apps.problems.cache_clear()
    toy_apps.held_out.cache_clear()
    toy_apps.phrasings.cache_clear()
    assert toy_apps.load() == splits


def test_another_process_with_another_hash_seed_makes_the_same_rows(splits):
    made = subprocess.run(
        [sys.executable, "-c", DIGEST], env=os.environ | {"PYTHONHASHSEED": "7"}, check=True, capture_output=True
    )
    assert made.stdout.decode().strip() == hashlib.sha256(repr(splits).encode()).hexdigest()


def test_a_caller_that_changes_its_rows_changes_nobody_elses():
    toy_apps.load()["train"].clear()
    assert len(toy_apps.load()["train"]) == sum(toy_apps.ROWS["train"])


def test_the_docstring_shows_a_real_train_row(splits):
    told = " ".join((toy_apps.__doc__ or "").split())
    shown = (f"nl: {each.nl} code: {each.code} tests: {each.tests} A problem" for each in splits["train"])
    assert any(" ".join(text.split()) in told for text in shown)


def test_a_source_is_refused():
    with pytest.raises(ValueError, match="toy_apps is embedded"):
        toy_apps.load("some/folder")


def test_prompts_and_answers_stay_within_what_the_dataset_says_of_them(splits):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(Path(toy_apps.__file__).parent / "toy_model")
    encoded = [Encoder(tokenizer).encode(each) for each in everything(splits)]
    assert max(map(len, encoded)) == DATASETS["toy_apps"].longest_tokens
    assert max(len(each.answer_ids) for each in encoded) <= DATASETS["toy_apps"].max_new_tokens
