"""Training speed: our loop against transformers.Trainer, as the paper's code used it and as a careful user would.

The paper's code pads everything to 128 tokens. A careful user pads each batch to its longest example, and may have the
Trainer put examples of similar length into one batch.

    python benchmarks/training.py --data datasets/conala --out benchmarks/results/training.md
    python benchmarks/training.py --random CodeLlama-7b-hf --nf4 --examples 64 --rounds 1      # on a GPU

Same model (SmolLM2-135M's sizes with random weights: speed does not depend on their values; --random another one, or
--model a folder or GGUF file), same LoRA, same examples for two epochs, the two alternating in one process on one base.
Counted are non-padding tokens a second, of both epochs and of the second alone: in the first our loop tries to pack, and on
a GPU records its graphs. The floor of a step is its matrix products: 4 x parameters FLOP a token for LoRA (forward 2,
backward to activations 2).
"""

import random
import tempfile
import time
from statistics import median

import torch
from figure1.models import parameter_count
from generation import RANDOM, SCALE, SETTINGS, prepare_device, random_base
from reports import DATA, add_numbers, add_out, arguments, command, flags, head, publish, row
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

from raypeft.data import DATASETS
from raypeft.gpu import free_memory, half
from raypeft.machine import device_name
from raypeft.methods import Lora
from raypeft.models.loading import load_base
from raypeft.models.table import MODELS
from raypeft.prompting.encoding import Encoder
from raypeft.training.batches import IGNORED, training_steps
from raypeft.training.loop import Training
from raypeft.training.recipe import Recipe

PAPER_LENGTH = 128
"""Prompt and answer together, padded, on CoNaLa (replication package, commit e7971c0)."""
EPOCHS = 2
METHOD = Lora(num_train_epochs=EPOCHS)


def load(options):
    """The base that all train on, its weights as trials of LoRA hold them."""
    weights = "nf4" if options.nf4 else "half"
    if options.model:
        return load_base(options.model, options.model, weights=weights)
    dtype = half() if torch.cuda.is_available() else torch.float32
    return random_base(options.random, dtype, weights, options.scale)


OPPONENTS = {
    f"transformers.Trainer, padded to {PAPER_LENGTH}": {"fixed": True},
    "transformers.Trainer, dynamic padding": {},
    "transformers.Trainer, dynamic padding, grouped by length": {"train_sampling_strategy": "group_by_length"},
}
OURS = "raypeft"
WAYS = {"raypeft, without packing": {"packs": False}, "raypeft, without graphs": {"graphs": False}, OURS: {}}


def as_rows(prompts, pad_token_id, fixed):
    """The prompts as the Trainer reads them: as they are, or each padded to the paper's length."""
    rows = []
    for prompt in prompts:
        ids = [*prompt.prompt_ids, *prompt.answer_ids][:PAPER_LENGTH]
        labels = [*[IGNORED] * len(prompt.prompt_ids), *prompt.answer_ids][:PAPER_LENGTH]
        padding = PAPER_LENGTH - len(ids) if fixed else 0
        mask = [1] * len(ids) + [0] * padding
        labels += [IGNORED] * padding
        rows.append({"input_ids": ids + [pad_token_id] * padding, "attention_mask": mask, "labels": labels})
    return rows


class Clock(TrainerCallback):
    """When epochs ended."""

    def __init__(self):
        self.ends = []

    def on_epoch_end(self, *_, **__):
        finish_work()
        self.ends.append(time.perf_counter())


def finish_work():
    """Wait for what a GPU has still to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def speeds_of(tokens, started, ends):
    """Tokens a second of all epochs, and of the last one, from the clock at their ends; `tokens` are an epoch's."""
    return EPOCHS * tokens / (ends[-1] - started), tokens / (ends[-1] - ends[-2])


def trainer_speeds(model, prompts, tokenizer, fixed=False, **how):
    """The two speeds of transformers.Trainer over `prompts`, in non-padding tokens a second."""
    clock, config = Clock(), model.config
    uses_cache = config.use_cache
    rows = as_rows(prompts, tokenizer.pad_token_id, fixed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=METHOD.per_device_train_batch_size,
            num_train_epochs=EPOCHS,
            learning_rate=METHOD.learning_rate,
            optim="adafactor",
            warmup_steps=METHOD.warmup_steps,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
            bf16=torch.cuda.is_available(),
            **how,
        )
        collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator, callbacks=[clock])
        started = time.perf_counter()
        trainer.train()
    config.use_cache = uses_cache  # the Trainer turns it off, in the base's config too
    return speeds_of(sum(min(len(prompt), PAPER_LENGTH) for prompt in prompts), started, clock.ends)


def our_speeds(model, prompts, tokenizer, packs=True, graphs=True):
    """The same of our loop's steps, optimiser, schedule, the trial of packing and the recording of graphs included."""
    started, ends = time.perf_counter(), []
    training = Training(model, prompts, Recipe(METHOD, 42, tokenizer.pad_token_id, graphs=graphs))
    if packs:
        training.prepare()
    for batches in training_steps(prompts, METHOD, 42, training.total_steps):
        training.step(batches)
        if training.result.steps % training.steps_per_epoch == 0:
            finish_work()
            ends.append(time.perf_counter())
    training.passes.close()
    return speeds_of(sum(map(len, prompts)), started, ends)


def on_base(base, measure, prompts, **how):
    """What `measure` finds of the base with a new adapter. The base is left as it was."""
    torch.manual_seed(0)
    with METHOD.applied(base) as model:
        found = measure(model, prompts, base.tokenizer, **how)
    del model
    free_memory()
    return found


def peak_flops(size):
    """What a large matrix product reaches here (bfloat16 on a GPU), in FLOP/s: the ceiling for the floor below."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)
    (left @ right).sum().item()
    started = time.perf_counter()
    for _ in range(4):
        found = left @ right
    found.sum().item()
    return 4 * 2 * size**3 / (time.perf_counter() - started)


def make_parser():
    parser = arguments(__doc__)
    parser.add_argument("--data", help=DATA)
    parser.add_argument("--model", help="folder or GGUF file; without it, random weights")
    parser.add_argument("--random", choices=list(MODELS), metavar="NAME", default="SmolLM2-135M", help=RANDOM)
    parser.add_argument("--scale", choices=("true", "small"), default="true", help=SCALE)
    parser.add_argument("--nf4", action="store_true", help="hold the base in 4 bits, as qlora_4bit does")
    parser.add_argument("--examples", type=int, default=320, help="training examples in one round")
    add_numbers(parser, rounds=3, threads=2)
    add_out(parser)
    return parser


def main():
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    prepare_device()
    base = load(options)
    dataset = "conala" if options.data else "toy"
    train = DATASETS[dataset].load(options.data, None)["train"]
    sample = random.Random(42).sample(train, min(options.examples, len(train)))
    encoder = Encoder(base.tokenizer)
    prompts = [prompt for prompt in map(encoder.encode, sample) if len(prompt) <= PAPER_LENGTH]
    speeds = compare(base, prompts, options.rounds)
    publish(report(options, base.model, prompts, speeds, dataset), options.out)


def compare(base, prompts, rounds):
    """The two speeds of each round, by loop."""
    ways = {name: (our_speeds, how) for name, how in WAYS.items() if torch.cuda.is_available() or "graphs" not in how}
    ways |= {name: (trainer_speeds, how) for name, how in OPPONENTS.items()}
    speeds = {name: [] for name in (*OPPONENTS, *WAYS) if name in ways}
    for round_number in range(rounds + 1):
        # The first round warms all up and is not counted.
        few = prompts[:16] if round_number == 0 else prompts
        found = {name: on_base(base, measure, few, **how) for name, (measure, how) in ways.items()}
        if round_number:
            for name, pair in found.items():
                speeds[name].append(pair)
            told = ", ".join(f"{name} {whole:.0f} ({last:.0f})" for name, (whole, last) in found.items())
            print(f"round {round_number}, tokens/s (in the second epoch): {told}", flush=True)
    return speeds


def ratio_to(theirs, ours):
    """Our speed in theirs: the median of the rounds, and the lowest and highest."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def table_row(loop, pairs, ours):
    """The row of a loop: medians, rounds, and our ratio to it over both epochs and in the second."""
    (whole, last), (our_whole, our_last) = zip(*pairs, strict=True), zip(*ours, strict=True)
    rounds = ", ".join(f"{each:.0f}" for each in whole)
    ratios = ("", "") if loop == OURS else (ratio_to(whole, our_whole), ratio_to(last, our_last))
    return row(loop, f"{median(whole):.0f}", f"{median(last):.0f}", rounds, *ratios)


def report(options, model, prompts, speeds, dataset):
    """The lines of the report."""
    sizes = {name: parameter_count(each) for name, each in model.named_parameters()}
    body = sum(size for name, size in sizes.items() if "embed_tokens" not in name and "lm_head" not in name)
    size = 8192 if torch.cuda.is_available() else 2048
    peak = peak_flops(size)
    floor = 4 * body / peak
    mean_length = sum(map(len, prompts)) / len(prompts)
    given = ("--data CONALA" if options.data else "",
             "--model MODEL" if options.model else f"--random {options.random}",
             "--scale small" if options.scale == "small" else "", "--nf4" if options.nf4 else "")  # fmt: skip
    how = command("training", *given, flags(options, "examples", "rounds", "threads"))
    ours = speeds[OURS]
    return [
        "# Training: non-padding tokens a second",
        "",
        f"{how} on {device_name()}, {options.threads} threads,",
        f"torch {torch.__version__}. {dataset}: {len(prompts)} examples of {mean_length:.0f} tokens in the mean, {EPOCHS} epochs, LoRA r {METHOD.lora_r}, batch 8, Adafactor,",
        f"base in {'nf4' if options.nf4 else model.dtype}.",
        *([SETTINGS] if torch.cuda.is_available() else []),
        "",
        *head("loop", "> median tokens/s", "> in the second epoch", "all rounds", "raypeft against it",
              "in the second epoch"),
        *(table_row(loop, pairs, ours) for loop, pairs in speeds.items()),
        "",
        f"Floor: {1 / floor:.0f} tokens/s, the layers' matrix products alone ({body / 1e6:.0f}M parameters, 4 FLOP each a token) at the",
        f"{peak / 1e9:.0f} GFLOP/s that a {size} x {size} product reaches here; in the second epoch we are at {median(last for _, last in ours) * floor:.0%} of it.",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
