"""Score stored candidates again, without a model: after a metric was mended or added.

    python -m raypeft.score results/conala_smollm2

Only the scores of a row change; its fields, costs and provenance stay those of the run that made the candidates.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby

from raypeft.config import trial_columns
from raypeft.data import DATASETS
from raypeft.metrics.scores import score
from raypeft.records import Candidate
from raypeft.report import print_summary
from raypeft.results import ResultStore


def score_again(store: ResultStore) -> int:
    """Recompute the scores of every trial that has candidates; returns how many trials had any."""
    count = 0
    for row in store.read_rows():
        stored = store.read_rows("candidates", row["id"]) if row["status"] in ("ok", "generated") else []
        if not stored:
            continue
        examples = [list(found) for _, found in groupby(stored, key=lambda candidate: candidate["example_id"])]
        candidates = [
            [Candidate(each["example_id"], each["rank"], each["text"], each["token_count"], each["stop_reason"])
             for each in found]
            for found in examples
        ]  # fmt: skip
        references = [found[0]["reference"] for found in examples]
        scores = score(candidates, references, DATASETS[row["dataset"]])
        store.write_rows("trials", row["id"], [row | {"status": "ok", "error": None} | scores])
        count += 1
    return count


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="raypeft score", description="Score a sweep's stored candidates again.")
    parser.add_argument("results", help="the sweep's folder or URL, e.g. results/conala_smollm2")
    options = parser.parse_args(arguments)
    try:
        store = ResultStore.existing(options.results, trial_columns(), table="candidates")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    store.upgrade()
    print(f"{score_again(store)} trials scored again")
    print_summary(store.read_rows())
    return 0


if __name__ == "__main__":
    sys.exit(main())
