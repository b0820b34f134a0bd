"""What single examples contribute to CodeBLEU, on real references of CoNaLa where there are any."""

import json
import random

import numpy as np
import pytest

from raypeft.analysis.statistics.paired import paired_bootstrap
from raypeft.metrics.codebleu.metric import compute, per_example
from raypeft.metrics.codebleu.score import example_counts, score_counts
from raypeft.metrics.metric import Answers


def answers(references, predictions):
    return Answers({str(place): [text] for place, text in enumerate(predictions)},
                   {str(place): text for place, text in enumerate(references)})  # fmt: skip


@pytest.fixture(scope="module")
def trials(real_data):
    """Two made trials on 100 references of CoNaLa: each damages some of its answers."""
    lines = (real_data / "conala" / "test.jsonl").read_text().splitlines()[:100]
    references = [json.loads(line)["cmd"] for line in lines]
    generator = random.Random(1)

    def damaged(share):
        return [" ".join(generator.sample(text.split(), len(text.split()))) if generator.random() < share else text
                for text in references]  # fmt: skip

    return answers(references, damaged(0.4)), answers(references, damaged(0.7))


def test_the_mean_of_the_examples_is_the_corpus_score(trials):
    for each in trials:
        values = per_example(each)["codebleu"]
        assert list(values) == list(each.candidates)
        assert np.mean(list(values.values())) == pytest.approx(compute(each)["codebleu"])


def test_paired_differences_have_the_interval_of_a_bootstrap_of_both_corpora(trials):
    ours, theirs = (list(per_example(each)["codebleu"].values()) for each in trials)
    found = paired_bootstrap(ours, theirs)
    counts = [np.array(example_counts(each.pairs[1], [texts[0] for texts in each.pairs[0]])) for each in trials]
    draws = np.random.default_rng(1).multinomial(100, np.full(100, 0.01), size=4000)
    scores = [[score_counts(total)["codebleu"] for total in (draws @ each).tolist()] for each in counts]
    low, high = np.percentile(np.subtract(*scores), [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.05 * (high - low))


def test_a_single_example_has_nothing_to_be_compared_by():
    assert per_example(answers(["x = 1"], ["x = 1"])) == {}
