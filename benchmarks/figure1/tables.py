"""What is reported of the bars: the columns of a measurement and of a simulation, and the text around them."""

import reports

from figure1.bars import BARS, planned

VERSIONS = ("python", "torch", "transformers", "peft", "bitsandbytes")
REHEARSAL = """# Rehearsal of benchmarks/memory.py: no measurement of memory

This ran on a CPU, on models of the same classes shrunk to two narrow layers. It shows that every bar builds, trains,
evaluates and generates; it says nothing about memory or speed. Predictions are those of the true sizes."""
SIMULATION = """## Simulation of one training step, not a measurement

True sizes, a batch of 8 examples of 128 tokens (64 + 64 for an encoder-decoder), on tensors that have shapes and no
values: the bytes of all storages alive at the peak of the second step, in GiB. Caching, fragmentation and the kernels'
own workspace are not in it; generation is not simulated. Without CUDA the step runs under the CPU's autocast; the next
column adds what CUDA's computes in float32 (norms, powers, softmax), which matters where a class leaves that to
autocast, as CodeGen does. `predicted` is `raypeft.study.memory.predict`, training only."""
NOTES = """
Our figures are GiB (2**30 bytes), the paper's as printed in its Figure 1 (peak in fine-tuning; no unit beyond GB).
Random weights at true size. Eight steps of batch 8, an evaluation of 16 examples, then one batch of beam search: 10
beams, 64 new tokens; the paper decodes one example at a time. Lengths are CoNaLa's, with batches of 8 x 128 tokens
among them. Speed is that of the steps after the first."""


MEASURED = {
    "paper GB": lambda row, bar, plan: bar.paper_gb,
    "train: allocated": lambda row, bar, plan: row.get("train_peak_memory_allocated_gb"),
    "reserved": lambda row, bar, plan: row.get("train_peak_memory_reserved_gb"),
    "predicted": lambda row, bar, plan: plan.train_gb,
    "allocated / paper": lambda row, bar, plan: ratio(row.get("train_peak_memory_allocated_gb"), bar.paper_gb),
    "generate: allocated": lambda row, bar, plan: row.get("generate_peak_memory_allocated_gb"),
    "reserved ": lambda row, bar, plan: row.get("generate_peak_memory_reserved_gb"),
    "predicted ": lambda row, bar, plan: plan.generate_gb,
    "answers at once": lambda row, bar, plan: row.get("generation_batch_size"),
    "overall: allocated": lambda row, bar, plan: row.get("peak_memory_allocated_gb"),
    "reserved  ": lambda row, bar, plan: row.get("peak_memory_reserved_gb"),
    "allocated / paper ": lambda row, bar, plan: ratio(row.get("peak_memory_allocated_gb"), bar.paper_gb),
    "checkpointing": lambda row, bar, plan: "yes" if plan.gradient_checkpointing else "no",
    "s/step": lambda row, bar, plan: row.get("seconds_per_step"),
    "tokens/s": lambda row, bar, plan: row.get("tokens_per_second"),
}
"""Columns by heading (blanks tell equal ones apart)."""
SIMULATED = {
    "paper GB": lambda row, bar, plan: bar.paper_gb,
    "before the step": lambda row, bar, plan: row.get("held_gb"),
    "peak, CPU's autocast": lambda row, bar, plan: row.get("cpu_gb"),
    "peak, CUDA's autocast": lambda row, bar, plan: row.get("cuda_gb"),
    "predicted": lambda row, bar, plan: plan.train_gb,
    "CUDA's / predicted": lambda row, bar, plan: ratio(row.get("cuda_gb"), plan.train_gb),
    "CUDA's / paper": lambda row, bar, plan: ratio(row.get("cuda_gb"), bar.paper_gb),
    "checkpointing": lambda row, bar, plan: "yes" if plan.gradient_checkpointing else "no",
    "at the peak": lambda row, bar, plan: row.get("at"),
}


def ratio(value, reference):
    return value / reference if value else None


def table(columns, rows, options):
    """The lines of a table, a row a bar; `columns` are functions of the bar's row, the bar and its plan."""
    lines = reports.head("bar", *(f"> {heading}" for heading in columns), "result")
    for row in rows:
        bar = BARS[row["bar"]]
        _, plan = planned(bar, options)
        cells = [cell(column(row, bar, plan)) for column in columns.values()]
        lines.append(reports.row(bar.name, *cells, row["status"]))
    return lines


def cell(value):
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return "-" if value is None else str(value)


def write_up(rows, options, seconds):
    """The lines of the report."""
    given = [
        ("--data CONALA", options.data and not options.simulate),
        ("--tokenizer TOKENIZER", options.tokenizer),
        (f"--scale {options.scale}", options.scale != "true"),
        (f"--budget {options.budget:g}", options.budget != 24),
        (f"--generation-batch-size {options.generation_batch_size}", options.generation_batch_size != 16),
        ("--checkpointing", options.checkpointing),
        ("--simulate", options.simulate),
        (f"--bars {' '.join(options.bars)}", options.bars != list(BARS)),
    ]
    command = reports.command("memory", *(flag for flag, holds in given if holds))
    about = f"{command}, {seconds:.0f} s in all, on {origin(rows)}."
    if options.simulate:
        return [SIMULATION, "", about, "", *table(SIMULATED, rows, options)]
    on_gpu = any(row.get("peak_memory_allocated_gb") for row in rows)
    title = f"# Peak GPU memory of Figure 1 under a cap of {options.budget:g} GiB" if on_gpu else REHEARSAL
    return [title, "", about, NOTES, "", *table(MEASURED, rows, options)]


def origin(rows):
    """Hardware, versions and commit, as a bar's process saw them: this one keeps off the card."""
    row = next((row for row in rows if "device" in row), {})
    card = row.get("device", "unknown hardware")
    if row.get("device_memory_gb", "None") != "None":
        card += f" ({float(row['device_memory_gb']):.1f} GiB)"
    versions = ", ".join(f"{name} {row.get(f'{name}_version')}" for name in VERSIONS)
    dirty = " with uncommitted changes" if row.get("git_dirty") == "True" else ""
    return f"{card}, {versions}, commit {str(row.get('git_commit'))[:12]}{dirty}"
