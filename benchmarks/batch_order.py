"""Batches in random order or of similar length, and what a token weighs: does the trained model differ?

    python -m raypeft.sweep batch_order
    python benchmarks/batch_order.py results/batch_order --out benchmarks/results/batch_order.md

The sweep trains LoRA in four ways, each with five seeds. Compared is the lowest validation loss of each trial, from the
table `evals`; a trial's fields come from the plan in manifest.json, so that trials that are still decoding count as well.
The other figures are those of trials that have a row. Each way is compared with random order and batch weighting on the
same seeds: the mean difference and its 95 % interval (Student's t over the differences of the seeds).
"""

from collections import defaultdict
from statistics import mean, stdev

from reports import add_out, arguments, head, publish, row
from scipy import stats

from raypeft.analysis.folder import open_results

USUAL = ("random", "batch")
COLUMNS = {
    "test loss": ("test_loss", 1, 4),
    "EM@10 (%)": ("em_at_10", 100, 1),
    "tokens a second in training": ("train_tokens_per_second", 1, 0),
}
"""Heading -> a row's column, what it is multiplied by, digits."""


def lowest_losses(store):
    """Trial -> lowest validation loss."""
    losses = defaultdict(list)
    for evaluation in store.read_rows("evals"):
        losses[evaluation["id"]].append(evaluation["eval_loss"])
    return {trial: min(every) for trial, every in losses.items()}


def by_way(values, plan):
    """Values of trials as (sampling, weighting) -> seed -> value."""
    found = defaultdict(dict)
    for trial, fields in plan.items():
        if values.get(trial) is not None:
            way = fields["train_sampling_strategy"], fields["loss_weighting"]
            found[way][fields["seed"]] = values[trial]
    return found


def difference(ours, theirs, digits):
    """The mean difference on the seeds that both have, and its interval, as text."""
    differences = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    spread = stats.sem(differences)
    low, high = stats.t.interval(0.95, len(differences) - 1, mean(differences), spread)
    return f"{mean(differences):+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def table(heading, found, digits):
    lines = [*head("train_sampling_strategy", "loss_weighting", "> seeds", f"> {heading}", "> difference [95 %]")]
    for way in sorted(found, key=lambda way: way != USUAL):
        values = list(found[way].values())
        compared = "" if way == USUAL else difference(found[way], found[USUAL], digits)
        told = f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"
        lines.append(row(*way, len(values), told, compared))
    return [*lines, ""]


def main():
    parser = arguments(__doc__)
    parser.add_argument("results", help="the sweep's folder")
    add_out(parser)
    options = parser.parse_args()
    store = open_results(options.results)[0]
    plan = store.read_manifest().plan
    lines = table("validation loss", by_way(lowest_losses(store), plan), 4)
    for heading, (column, factor, digits) in COLUMNS.items():
        values = {each["id"]: factor * each[column] for each in store.read_rows() if each.get(column) is not None}
        if values:
            lines += table(heading, by_way(values, plan), digits)
    publish(lines[:-1], options.out)


if __name__ == "__main__":
    main()
