"""Does a search find settings as good as a grid's best, and at what share of the grid's training steps?

    python benchmarks/search.py --folder /tmp/search --out benchmarks/results/search.md

The grid has 48 points: LoRA's learning rate (8, from 1e-4 to 1e-1), r (3) and alpha (2), on the embedded toy study. Each
way of searching the same ranges is run with five search seeds, as a sweep of its own under Ray Tune. What a search
chooses by its validation loss is then trained with five further seeds, as the grid's best is, and their test losses are
compared: "as good" is a mean test loss that is not above the upper end of the 95 % interval of the grid's best (Student's
t over its seeds). Steps are optimiser steps, those of pruned trials among them. Sweeps that have run before are not
run again.
"""

import subprocess
import sys
from pathlib import Path
from statistics import mean

import yaml
from reports import add_out, arguments, command, flags, head, publish, row
from scipy import stats

from raypeft.analysis.folder import open_results
from raypeft.machine import device_name

RATES = [float(f"{10 ** (-4 + 3 * place / 7):.3g}") for place in range(8)]
RANKS, ALPHAS = [4, 8, 16], [16, 32]
RANGES = {
    "learning_rate": {"min": RATES[0], "max": RATES[-1], "distribution": "log_uniform"},
    "lora_r": RANKS,
    "lora_alpha": ALPHAS,
}
BASE = {"model": "toy", "dataset": "toy", "decode": False, "num_train_epochs": 3, "eval_every_epochs": 0.5}
WAYS = {
    "random": {"search": "random", "num_samples": 16},
    "optuna": {"search": "optuna", "num_samples": 16},
    "optuna + asha": {"search": "optuna", "num_samples": 22, "scheduler": "asha"},
}
SEARCHED = ("learning_rate", "lora_r", "lora_alpha")


def run_sweep(folder, name, limit, fields):
    """Run a sweep of this name; its rows."""
    file = folder / f"{name}.yaml"
    sweep = {"name": name, "defaults": {**BASE, "limit": limit}, "resources": {"cpus_per_trial": 1}, **fields}
    file.write_text(yaml.safe_dump(sweep))
    command = [sys.executable, "-m", "raypeft.sweep", str(file), "--results", str(folder / "results")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return open_results(str(folder / "results" / name))[0].read_rows()


def best_of(rows):
    """The settings that a search chooses."""
    found = min((each for each in rows if each["status"] == "ok"), key=lambda each: each["best_eval_loss"])
    return {name: found[name] for name in SEARCHED}


def test_losses(folder, limit, chosen):
    """The mean test loss of each of these settings with seeds that no search has seen, and the spread of that mean."""
    unique = list({text(each): {"name": "lora", **each} for each in chosen}.values())
    rows = run_sweep(folder, "chosen", limit, {"grids": [{"tuning_method": unique, "seed": [1, 2, 3, 4, 5]}]})
    found = {}
    for each in rows:
        found.setdefault(text(each), []).append(each["test_loss"])
    return {name: (mean(losses), stats.sem(losses)) for name, losses in found.items()}


def text(settings):
    return f"lr {settings['learning_rate']:g}, r {settings['lora_r']}, alpha {settings['lora_alpha']}"


def main():
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for sweep files and results")
    parser.add_argument("--limit", type=int, default=96, help="examples of each split (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    add_out(parser)
    options = parser.parse_args()
    folder, limit = options.folder, options.limit
    folder.mkdir(parents=True, exist_ok=True)
    axes = {"learning_rate": RATES, "lora_r": RANKS, "lora_alpha": ALPHAS}
    grid = run_sweep(folder, "grid", limit, {"grids": [{"tuning_method": "lora", **axes}]})
    steps = sum(each["steps"] or 0 for each in grid)
    best = best_of(grid)
    searches = []
    for way in options.ways:
        for seed in range(5):
            fields = {"grids": [{"tuning_method": "lora"}], "search_seed": seed, "parameters": RANGES, **WAYS[way]}
            searches.append((way, seed, run_sweep(folder, f"{way.replace(' + ', '-')}-{seed}", limit, fields)))
            print(way, seed, text(best_of(searches[-1][2])), flush=True)
    losses = test_losses(folder, limit, [best, *(best_of(rows) for _, _, rows in searches)])
    center, spread = losses[text(best)]
    upper = stats.t.interval(0.95, 4, center, spread)[1]
    how = command(
        "search", "--folder FOLDER", f"--ways {' '.join(repr(way) for way in options.ways)}", flags(options, "limit")
    )
    lines = [
        "# Searches against a grid of 48 points",
        "",
        f"{how} on {device_name()}.",
        "",
        f"The grid: {len(grid)} trials, {steps:,} steps; its best is {text(best)}, mean test loss {center:.4f}, upper end "
        f"of its interval {upper:.4f}.",
        "",
        *head(
            "way", "> seed", "> trials", "> pruned", "> share of the grid's steps", "chosen", "> test loss", "as good"
        ),
    ]
    for way, seed, rows in searches:
        chosen = text(best_of(rows))
        pruned = sum(each["status"] == "pruned" for each in rows)
        share = sum(each["steps"] or 0 for each in rows) / steps
        as_good = "yes" if losses[chosen][0] <= upper else "no"
        lines.append(row(way, seed, len(rows), pruned, f"{share:.1%}", chosen, f"{losses[chosen][0]:.4f}", as_good))
    publish(lines, options.out)


if __name__ == "__main__":
    main()
