"""How often does a 95 % interval over seeds and examples hold the truth?

    python benchmarks/intervals.py --out benchmarks/results/intervals.md

Made data: two trials answer the same test examples; the first hits more often by a known mean, which scatters over its
seeds. Compared are the interval of `raypeft.analysis.statistics.seeds.two_level`, a bootstrap that draws seeds and then
examples, and an interval over examples alone, which treats the mean over seeds as one trial.
"""

import numpy as np
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

from raypeft.analysis.statistics.seeds import two_level

TRUTH = 0.1


def differences(generator, seeds, examples, deviation):
    """Hits of the first trial less hits of the second, (seeds, examples)."""
    # Chances between 0.15 and 0.75, so that no gain is cut off at 0 or 1.
    chance = 0.15 + 0.6 / (1 + np.exp(-generator.normal(-1, 1.5, examples)))
    gain = TRUTH + generator.normal(0, deviation, (seeds, 1))
    hits = generator.random((seeds, examples)) < chance + gain
    return hits.astype(float) - (generator.random((seeds, examples)) < chance)


def bootstrap(values, generator, resamples=400):
    """The percentile interval of means over drawn seeds and drawn examples."""
    seeds, examples = values.shape
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    by_example = generator.multinomial(examples, np.full(examples, 1 / examples), resamples) / examples
    return np.percentile(((by_seed @ values) * by_example).sum(axis=1), [2.5, 97.5])


def over_examples(values):
    """The normal interval of the examples' means over seeds."""
    means = values.mean(axis=0)
    margin = 1.96 * means.std(ddof=1) / len(means) ** 0.5
    return means.mean() - margin, means.mean() + margin


def measured(options, seeds, deviation):
    """One line: the share of intervals that hold the truth, and their mean width in points, for each of the three."""
    generator = np.random.default_rng(options.seed)
    held, widths = np.zeros(3), np.zeros(3)
    for _ in range(options.cases):
        values = differences(generator, seeds, options.examples, deviation)
        ours = two_level(values)
        intervals = (ours.low, ours.high), bootstrap(values, generator), over_examples(values)
        held += [low <= TRUTH <= high for low, high in intervals]
        widths += [high - low for low, high in intervals]
    cells = [f"{100 * share:.1f} % ({100 * width:.1f})" for share, width in zip(held / options.cases,
                                                                                widths / options.cases, strict=True)]  # fmt: skip
    return row(seeds, f"{100 * deviation:.0f}", *cells)


def main():
    parser = arguments(__doc__)
    add_numbers(parser, cases=1000, examples=250, seed=1)
    add_out(parser)
    options = parser.parse_args()
    lines = [
        f"Share of 95 % intervals that hold the true difference of {100 * TRUTH:.0f} points, and in brackets their mean "
        f"width in points. {options.cases} cases of {options.examples} examples each.",
        command("intervals", flags(options, "cases", "examples", "seed")),
        "",
        *head("seeds", "> deviation over seeds, points", "> two_level", "> bootstrap of both", "> examples alone"),
        *(measured(options, seeds, deviation) for seeds in (3, 5, 10) for deviation in (0.0, 0.02, 0.05, 0.1)),
    ]
    publish(lines, options.out)


if __name__ == "__main__":
    main()
