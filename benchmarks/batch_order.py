"""Batches in random order or of similar length, and what a token weighs: does the trained model differ?

    python -m raypeft.sweep batch_order
    python benchmarks/batch_order.py results/batch_order --out benchmarks/results/batch_order.md

The sweep trains LoRA in four ways, each with five seeds. Compared is the lowest validation loss of each trial, from the
table `evals`; a trial's fields come from the plan in manifest.json, so that trials that are still decoding count as well.
Each way is compared with random order and batch weighting on the same seeds: the mean difference and its 95 % interval
(Student's t over the differences of the seeds).
"""

from collections import defaultdict
from statistics import mean, stdev

from reports import add_out, arguments, head, publish, row
from scipy import stats

from raypeft.analysis.folder import open_results

USUAL = ("random", "batch")


def lowest_losses(store):
    """(sampling, weighting) -> seed -> lowest validation loss."""
    losses = defaultdict(list)
    for evaluation in store.read_rows("evals"):
        losses[evaluation["id"]].append(evaluation["eval_loss"])
    found = defaultdict(dict)
    for trial_id, fields in store.read_manifest().plan.items():
        if trial_id in losses:
            way = fields["train_sampling_strategy"], fields["loss_weighting"]
            found[way][fields["seed"]] = min(losses[trial_id])
    return found


def difference(ours, theirs):
    """The mean difference on the seeds that both have, and its interval, as text."""
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    spread = stats.sem(differences)
    low, high = stats.t.interval(0.95, len(differences) - 1, mean(differences), spread)
    return f"{mean(differences):+.4f} [{low:+.4f}, {high:+.4f}]"


def main():
    parser = arguments(__doc__)
    parser.add_argument("results", help="the sweep's folder")
    add_out(parser)
    options = parser.parse_args()
    store, _ = open_results(options.results)
    found = lowest_losses(store)
    lines = [*head("train_sampling_strategy", "loss_weighting", "> seeds", "> validation loss", "> difference [95 %]")]
    for way in sorted(found, key=lambda way: way != USUAL):
        values = list(found[way].values())
        compared = "" if way == USUAL else difference(found[way], found[USUAL])
        lines.append(row(*way, len(values), f"{mean(values):.4f} ± {stdev(values):.4f}", compared))
    publish(lines, options.out)


if __name__ == "__main__":
    main()
