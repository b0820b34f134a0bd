"""Training speed: our loop against transformers.Trainer, as the paper's code used it and as a careful user would.

The paper's code pads everything to 128 tokens. A careful user pads each batch to its longest example, and may have the
Trainer put examples of similar length into one batch.

    python benchmarks/training.py --data datasets/conala --out benchmarks/results/training.md

Same model (SmolLM2-135M's architecture with random weights: speed does not depend on their values, or --model a folder
or GGUF file), same LoRA, same examples, the two alternating in one process. Counted are non-padding tokens a second.
The floor of a step is its matrix products: 4 x parameters FLOP a token for LoRA (forward 2, backward to activations 2).
"""

import copy
import random
import time
from statistics import median

import torch
from datasets import Dataset
from generation import random_base
from peft import LoraConfig, get_peft_model
from reports import DATA, add_numbers, add_out, arguments, command, flags, head, publish, row
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from raypeft.data import DATASETS
from raypeft.machine import device_name
from raypeft.methods import Lora
from raypeft.models.loading import load_base
from raypeft.models.table import TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.training.batches import IGNORED, training_steps
from raypeft.training.loop import Recipe, Training

SIZE = 8192 if torch.cuda.is_available() else 2048
PAPER_LENGTH = 128
"""Prompt and answer together, padded, on CoNaLa (replication package, commit e7971c0)."""
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "max_position_embeddings": 8192,
}


def load_model(path, random_name=None):
    if random_name:
        base = random_base(random_name)
        return base.model.bfloat16() if torch.cuda.is_available() else base.model, base.tokenizer
    if path:
        base = load_base(path, path)
        return base.model, base.tokenizer
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SMOLLM2_135M), dtype=torch.float32)
    # The toy tokenizer cuts finer than SmolLM2's, so lengths are those of longer texts; give --model for the true ones.
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), AutoTokenizer.from_pretrained(TOY_FOLDER)


def with_lora(model):
    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "k_proj", "v_proj"])
    return get_peft_model(copy.deepcopy(model), config)


OPPONENTS = {
    f"transformers.Trainer, padded to {PAPER_LENGTH}": {"fixed": True},
    "transformers.Trainer, dynamic padding": {},
    "transformers.Trainer, dynamic padding, grouped by length": {"train_sampling_strategy": "group_by_length"},
}
OURS = "raypeft"
PADDED = "raypeft, without packing"
WAYS = {PADDED: {"packs": False}, OURS: {}}
if torch.cuda.is_available():
    WAYS = {PADDED: {"packs": False}, "raypeft, without graphs": {"graphs": False}, OURS: {}}


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


def trainer_speed(model, prompts, tokenizer, folder, fixed=False, **how):
    """Non-padding tokens a second of one epoch of transformers.Trainer over `prompts`."""
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=8,
        num_train_epochs=1,
        learning_rate=3e-4,
        optim="adafactor",
        warmup_steps=0.05,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        **how,
    )
    rows = Dataset.from_list(as_rows(prompts, tokenizer.pad_token_id, fixed))
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True)
    )
    started = time.perf_counter()
    trainer.train()
    return sum(min(len(prompt), PAPER_LENGTH) for prompt in prompts) / (time.perf_counter() - started)


def our_speed(model, prompts, pad_token_id, packs=True, graphs=True):
    """The same of our loop's steps, optimiser, schedule, the trial of packing and the recording of graphs included."""
    method = Lora(num_train_epochs=1)
    started = time.perf_counter()
    training = Training(model, prompts, Recipe(method, 42, pad_token_id, graphs=graphs))
    if packs:
        training.prepare()
    for batches in training_steps(prompts, method, 42, training.total_steps):
        training.step(batches)
    return sum(map(len, prompts)) / (time.perf_counter() - started)


def peak_flops():
    """What a large matrix product reaches here (bfloat16 on a GPU), in FLOP/s: the ceiling for the floor below."""
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    left, right = torch.randn(2, SIZE, SIZE, device=device, dtype=dtype)
    (left @ right).sum().item()
    started = time.perf_counter()
    for _ in range(4):
        found = left @ right
    found.sum().item()
    return 4 * 2 * SIZE**3 / (time.perf_counter() - started)


def main():
    parser = arguments(__doc__)
    parser.add_argument("--data", help=DATA)
    parser.add_argument(
        "--model", help="folder or GGUF file; without it, SmolLM2-135M's architecture with random weights"
    )
    parser.add_argument("--random", metavar="NAME", help="this model of raypeft's table at its size, random weights")
    parser.add_argument("--examples", type=int, default=320, help="training examples in one round")
    add_numbers(parser, rounds=3, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = load_model(options.model, options.random)
    dataset = "conala" if options.data else "toy"
    train = DATASETS[dataset].load(options.data, None)["train"]
    sample = random.Random(42).sample(train, min(options.examples, len(train)))
    prompts = [prompt for prompt in (Encoder(tokenizer).encode(each) for each in sample) if len(prompt) <= PAPER_LENGTH]
    speeds = compare(model, prompts, tokenizer, options.rounds)
    publish(report(options, model, prompts, speeds, dataset), options.out)


def compare(model, prompts, tokenizer, rounds):
    """Tokens a second of each round, by loop."""
    speeds = {name: [] for name in (*OPPONENTS, *WAYS)}
    for round_number in range(rounds + 1):
        # The first round warms all up and is not counted.
        few = prompts[:16] if round_number == 0 else prompts
        found = {name: our_speed(with_lora(model), few, tokenizer.pad_token_id, **how) for name, how in WAYS.items()}
        for name, how in OPPONENTS.items():
            found[name] = trainer_speed(with_lora(model), few, tokenizer, "/tmp/raypeft-benchmark", **how)
        if round_number:
            for name, speed in found.items():
                speeds[name].append(speed)
            told = ", ".join(f"{name} {speed:.0f}" for name, speed in found.items())
            print(f"round {round_number}, tokens/s: {told}", flush=True)
    return speeds


def ratio_to(theirs, ours):
    """Our speed in theirs: the median of the rounds, and the lowest and highest."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return "" if ours is theirs else f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def report(options, model, prompts, speeds, dataset):
    """The lines of the report."""
    body = sum(p.numel() for n, p in model.named_parameters() if "embed_tokens" not in n and "lm_head" not in n)
    peak = peak_flops()
    floor = 4 * body / peak
    mean_length = sum(map(len, prompts)) / len(prompts)
    given = ("--data CONALA" if options.data else "", "--model MODEL" if options.model else "",
             f"--random {options.random}" if options.random else "")  # fmt: skip
    how = command("training", *given, flags(options, "examples", "rounds", "threads"))
    return [
        "# Training: non-padding tokens a second",
        "",
        f"{how} on {device_name()}, {options.threads} threads,",
        f"torch {torch.__version__}. {dataset}: {len(prompts)} examples of {mean_length:.0f} tokens in the mean, LoRA r 16, batch 8, Adafactor.",
        "",
        *head("loop", "> median tokens/s", "all rounds", "raypeft against it"),
        *(
            row(loop, f"{median(told):.0f}", ", ".join(f"{each:.0f}" for each in told), ratio_to(told, speeds[OURS]))
            for loop, told in speeds.items()
        ),
        "",
        f"Floor: {1 / floor:.0f} tokens/s, the layers' matrix products alone ({body / 1e6:.0f}M parameters, 4 FLOP each a token) at the",
        f"{peak / 1e9:.0f} GFLOP/s that a {SIZE} x {SIZE} product reaches here; we are at {median(speeds[OURS]) * floor:.0%} of it.",
    ]


if __name__ == "__main__":
    main()
