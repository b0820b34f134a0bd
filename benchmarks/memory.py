"""Peak GPU memory of the paper's Figure 1, bar by bar, under a hard cap of 24 GB on whatever card there is.

    python benchmarks/memory.py --data datasets/conala --output benchmarks/results/memory.md   # on a GPU, ten minutes
    python benchmarks/memory.py --data datasets/conala --scale small                           # a rehearsal on a CPU
    python benchmarks/memory.py --simulate                                                     # on fake tensors

Every model is built at its true size with random weights, on which peak memory does not depend, and those in nf4
weight by weight, so that no more than one weight is ever held in 16 bits. The bar's method then trains with raypeft's
own loop, evaluates once, and answers one batch with 10 beams. A batch of 8 examples of 128 tokens, the length that the
paper's code pads to, is always among them. Each bar has a process of its own. Needs neither Ray nor faiss nor codebleu,
nor the hub. `--simulate` counts the storages of a training step on tensors without values (torch's FakeTensorMode).
"""

import argparse
import json
import random
import subprocess
import sys
import time
import weakref
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    CodeGenConfig,
    LlamaConfig,
    T5Config,
)

from raypeft.decoding.generation import Search, generate
from raypeft.events import Evaluated
from raypeft.machine import GIB, Meter, enforce_budget, is_out_of_memory
from raypeft.methods import METHODS
from raypeft.models.classes.codegen import codegen
from raypeft.models.classes.llama import LlamaSizes, llama
from raypeft.models.classes.t5 import T5Sizes, t5
from raypeft.models.loading import Base, _quantization, _settle_special_tokens
from raypeft.models.table import MODELS, TOY_FOLDER
from raypeft.prompting.encoding import Encoder
from raypeft.records import Example, Prompt
from raypeft.study.config import Resources, Trial
from raypeft.study.memory import predict
from raypeft.training.batches import training_steps
from raypeft.training.loop import Recipe, checkpointing, make_optimizer, train_model
from raypeft.trial.provenance import provenance

# bitsandbytes and peft are imported where they are used: this script's first process must keep off the card, since a
# second CUDA context on it would be taken for the first's and count against the budget.

PADDED = 128
"""Prompt and answer together as the paper's code pads them on CoNaLa (64 and 64 for an encoder-decoder)."""
BATCH = 8
IN_FLOAT32 = {"__pow__", "cumsum", "exp", "layer_norm", "log_softmax", "norm", "pow", "prod", "rsqrt", "softmax", "sum"}
"""Operations that autocast computes in float32 on a GPU but not on a CPU, as far as our models use them (torch's page
on amp, "CUDA Ops that can autocast to float32")."""
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
RESULT = "result: "
"""Begins the line in which a bar's process hands over its row as JSON."""


@dataclass(frozen=True)
class Bar:
    """A bar of Figure 1 (arXiv 2308.10462v3): peak memory in fine-tuning, in GB as printed there."""

    model: str
    method: str
    paper_gb: float

    @property
    def name(self):
        return f"{self.model}/{self.method}"


BARS = {
    bar.name: bar
    for bar in (
        Bar("codet5p-220m", "full", 3.54),
        Bar("codegen-350M-mono", "full", 5.84),
        Bar("codet5p-770m", "full", 8.16),
        Bar("CodeLlama-7b-hf", "qlora_4bit", 9.16),
        Bar("codegen2-1B", "lora", 9.8),
        Bar("codegen2-3_7B", "lora", 14.08),
        Bar("CodeLlama-13b-Python-hf", "qlora_4bit", 15.01),
        Bar("CodeLlama-7b-hf", "lora", 19.06),
        Bar("codegen2-7B", "lora", 20.29),
        Bar("CodeLlama-34b-Python-hf", "qlora_4bit", 23.59),
    )
}


def planned(bar, options):
    """The bar as a trial, and what raypeft would do to keep it within the budget."""
    checkpointing = True if options.checkpointing else None
    method = METHODS[bar.method](num_train_epochs=1, eval_every_epochs=1, gradient_checkpointing=checkpointing)
    trial = Trial(model=bar.model, dataset="conala", method=method)
    resources = Resources(gpu_memory_gb=options.budget, generation_batch_size=options.generation_batch_size)
    return trial, predict(trial, resources)


def small(architecture):
    """The same kind of model, narrow and with two layers."""
    if architecture.model_type == "codegen":
        return codegen(hidden_size=64, layers=2, heads=4, vocab_size=4_096)
    if architecture.model_type == "t5":
        return t5(T5Sizes(hidden_size=64, intermediate_size=128, layers=2, heads=4, head_size=16, vocab_size=4_096))
    grouped = architecture.key_value_width < architecture.hidden_size
    return llama(
        LlamaSizes(
            hidden_size=64,
            intermediate_size=128,
            layers=2,
            heads=4,
            key_value_heads=1 if grouped else 4,
            vocab_size=4_096,
        )
    )


def model_config(sizes):
    """The sizes as a Transformers config; what memory does not depend on stays at the class's defaults."""
    inner = next(linear.outputs for linear in sizes.linears if linear.feed_forward)
    if sizes.model_type == "codegen":
        head = sizes.hidden_size // sizes.heads
        return CodeGenConfig(
            n_embd=sizes.hidden_size,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            vocab_size=sizes.vocab_size,
            n_positions=sizes.context_length,
            rotary_dim=min(32, head),
        )
    if sizes.model_type == "t5":
        return T5Config(
            d_model=sizes.hidden_size,
            d_ff=inner,
            d_kv=sizes.key_value_width // sizes.heads,
            num_layers=sizes.encoder_layers,
            num_decoder_layers=sizes.layers,
            num_heads=sizes.heads,
            vocab_size=sizes.vocab_size,
            decoder_start_token_id=0,
        )
    return LlamaConfig(
        hidden_size=sizes.hidden_size,
        intermediate_size=inner,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_width * sizes.heads // sizes.hidden_size,
        vocab_size=sizes.vocab_size,
        max_position_embeddings=sizes.context_length,
        tie_word_embeddings=False,
    )


def build_base(bar, weights, scale, device, dtype, fake=None):
    """A `Base` as `load_base` gives it, of the bar's sizes; under the mode `fake` its weights have no values."""
    family = MODELS[bar.model]
    sizes = family.architecture if scale == "true" else small(family.architecture)
    kind = AutoModelForSeq2SeqLM if sizes.is_encoder_decoder else AutoModelForCausalLM
    config = model_config(sizes)
    if weights == "nf4":
        model = quantised(kind, config, device, dtype, fake)
    else:
        with fake or nullcontext(), torch.device(device):
            model = kind.from_config(config, dtype=dtype)
    model.requires_grad_(False)
    # The vocabulary's size counts, not what its tokens spell, and the true tokenizers are out of reach offline.
    tokenizer = AutoTokenizer.from_pretrained(TOY_FOLDER)
    _settle_special_tokens(model, tokenizer)
    params = sum(parameter_count(each) for each in model.parameters())
    if params != sizes.total_params:
        raise AssertionError(f"{bar.model} must have {sizes.total_params} parameters but {params} were built")
    return Base(replace(family, architecture=sizes), model, tokenizer, "random weights")


def parameter_count(parameter):
    state = getattr(parameter, "quant_state", None)
    return (state.shape if state else parameter.shape).numel()


def quantised(kind, config, device, dtype, fake=None):
    """A model in nf4 as `from_pretrained` leaves it, made weight by weight."""
    from accelerate import init_empty_weights
    from transformers.quantizers import AutoHfQuantizer

    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config, dtype=dtype)
    quantizer = AutoHfQuantizer.from_config(_quantization("nf4", dtype), pre_quantized=False)
    quantizer.preprocess_model(model=model, device_map={"": device})
    with fake or nullcontext():
        for module in model.modules():
            for name, empty in list(module.named_parameters(recurse=False)):
                setattr(module, name, filled(empty, device, dtype, fake))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False  # see raypeft.models.loading
    return quantizer.postprocess_model(model)


def filled(empty, device, dtype, fake):
    """A parameter on `device` in place of one on the meta device: quantised if that is, norms 1, the rest random."""
    from bitsandbytes.functional import quantize_4bit
    from bitsandbytes.nn import Params4bit

    values = torch.ones(empty.shape, dtype=dtype, device=device)
    if values.dim() > 1:
        values.normal_(std=0.02)
    if not hasattr(empty, "quant_storage"):
        return torch.nn.Parameter(values, requires_grad=False)
    if not fake:
        settings = {key: value for key, value in vars(empty).items() if key not in ("quant_state", "bnb_quantized")}
        return Params4bit(values, requires_grad=False, **settings).to(values.device)
    # A fake tensor cannot be of bitsandbytes' class, but its layers ask for no more than these attributes.
    form = {key: getattr(empty, key) for key in ("blocksize", "compress_statistics", "quant_type", "quant_storage")}
    packed, state = quantize_4bit(values, **form)
    parameter = torch.nn.Parameter(packed, requires_grad=False)
    vars(parameter).update(form, quant_state=state, bnb_quantized=True)
    return parameter


def check_adapters(model):
    """PEFT must have wrapped nf4 layers in its own kind of LoRA, or it would train on unpacked copies."""
    from peft.tuners.lora import Linear4bit

    wrapped = [each for each in model.modules() if hasattr(each, "lora_A") and hasattr(each, "base_layer")]
    if not wrapped or not all(isinstance(each, Linear4bit) for each in wrapped):
        kinds = {type(each).__qualname__ for each in wrapped}
        raise AssertionError(
            f"adapters on nf4 weights must be peft.tuners.lora.Linear4bit but are {kinds or 'missing'}"
        )


def workload(options, tokenizer):
    """64 training, 16 validation and 16 test prompts: CoNaLa's lengths and, first, examples of 128 tokens.

    Lengths are measured, token ids are random. The embedded tokenizer cuts finer than those of the paper's models (72
    tokens against 43 of SmolLM2's in the mean), so lengths err on the long side; pairs beyond 128 tokens are left out.
    """
    with (Path(options.data) / "train.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    lengths = measured_lengths(rows, options.tokenizer, tokenizer)
    lengths = sorted(pair for pair in lengths if sum(pair) <= PADDED)
    chance = random.Random(0)

    def prompt(index, sizes):
        ids = [chance.randrange(3, len(tokenizer)) for _ in range(sum(sizes))]
        return Prompt(Example(str(index), "", ""), ids[: sizes[0]], ids[sizes[0] :])

    padded = [(PADDED // 2, PADDED // 2)]
    longest = sorted(lengths, key=sum)[-BATCH:]
    # Twice the batch of 128 tokens: whatever the order, one of them meets optimiser states that exist already.
    train = 2 * BATCH * padded + longest + chance.sample(lengths, 5 * BATCH)
    splits = {"train": train, "validation": BATCH * padded + longest, "test": lengths[-2 * BATCH :]}
    return {split: [prompt(index, sizes) for index, sizes in enumerate(pairs)] for split, pairs in splits.items()}


def measured_lengths(rows, source, tokenizer):
    """(prompt, answer) in tokens of every row, with the tokenizer of a folder or GGUF file, else the given one."""
    if source:
        path = Path(source)
        where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent if where else path), **where)
    encoded = [Encoder(tokenizer).encode(Example("", row["nl"], row["cmd"])) for row in rows]
    return [(len(each.prompt_ids), len(each.answer_ids)) for each in encoded]


def run_bar(bar, options):
    """Everything measured of one bar, in this process."""
    enforce_budget(options.budget)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trial, plan = planned(bar, options)
    weights = trial.method.base_weights
    dtype = torch.bfloat16 if device == "cuda" and weights != "float32" else torch.float32
    meter, row = Meter(), {"bar": bar.name, "status": "ok", **origin_columns()}
    started = time.perf_counter()
    try:
        with meter.stage("load"):
            base = build_base(bar, weights, options.scale, device, dtype)
            splits = workload(options, base.tokenizer)
        row["load_seconds"] = time.perf_counter() - started
        with trial.method.applied(base) as model:
            if weights == "nf4":
                check_adapters(model)
            row |= trained(trial, plan, model, base, splits, meter)
            row |= answered(trial, plan, model, base, splits, meter)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        stage = next(reversed(meter.peaks), "load")
        row |= {"status": f"oom in {stage}: {str(error).splitlines()[0]}"}
    if options.scale == "small":
        row |= {"seconds_per_step": None, "tokens_per_second": None}  # of shrunken models: they would mislead
    return row | meter.columns() | {"seconds": time.perf_counter() - started}


def trained(trial, plan, model, base, splits, meter):
    """Train on eight batches and evaluate; speed is that of the steps after the first, which warms up."""
    ends = []

    def listener(event):
        if not isinstance(event, Evaluated):
            ends.append(time.perf_counter())
            print(f"  {event}", file=sys.stderr, flush=True)

    method, train = trial.method, splits["train"]
    with meter.stage("train"):
        recipe = Recipe(
            method, trial.seed, base.tokenizer.pad_token_id, plan.gradient_checkpointing, plan.micro_batch_size
        )
        result = train_model(model, train, splits["validation"], recipe, listener)
    steps = list(training_steps(train, method, trial.seed, result.steps))
    tokens = sum(len(prompt) for batches in steps[1:] for batch in batches for prompt in batch)
    seconds = [later - earlier for earlier, later in pairwise(ends[1:])]
    return {
        "steps": result.steps,
        "eval_loss": result.best_eval_loss,
        "seconds_per_step": median(seconds),
        "tokens_per_second": tokens / sum(seconds),
    }


def answered(trial, plan, model, base, splits, meter):
    """One batch of the longest prompts, as a trial would decode it."""
    batches = []

    def listener(event):
        print(f"  {event}", file=sys.stderr, flush=True)
        batches.append(event.done)

    started = time.perf_counter()
    with meter.stage("generate"):
        candidates = generate(
            model,
            base.tokenizer,
            splits["test"][: plan.generation_batch_size],
            Search(
                num_beams=trial.num_beams,
                num_return_sequences=trial.num_return_sequences,
                max_new_tokens=64,
                batch_size=plan.generation_batch_size,
            ),
            listener=listener,
        )
    return {
        "generate_seconds": time.perf_counter() - started,
        "generated_tokens": max(each.token_count for found in candidates for each in found),
        # `generate` halves its batch when memory runs out: then the first is smaller than planned.
        "generation_batch_size": batches[1],
    }


def simulate_bar(bar, options):
    """The storages alive at the peak of a second training step of 8 x 128 tokens, on tensors without values.

    The step is that of `raypeft.training.loop.optimise_step`, less what asks for values (which positions have a loss, the
    loss as a number). It is taken under the CPU's autocast, then once more with what CUDA's computes in float32.
    """
    from bitsandbytes.functional import quantize_4bit
    from torch._subclasses.fake_tensor import FakeTensorMode

    print(bar.name, file=sys.stderr, flush=True)
    torch.set_num_threads(options.threads)
    trial, plan = planned(bar, options)
    weights = trial.method.base_weights
    dtype = torch.float32 if weights == "float32" else torch.bfloat16
    quantize_4bit(torch.ones(64, 64), compress_statistics=True)  # makes bitsandbytes' tables, which need values
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    base = build_base(bar, weights, options.scale, "cpu", dtype, fake)
    # PEFT moves adapters to the base's device, where they are; fake parameters do not survive the move.
    still = mock.patch.object(torch.nn.Module, "to", lambda module, *_, **__: module)
    row = {"bar": bar.name, "status": "ok", **origin_columns()}
    with fake, still, trial.method.applied(base) as model, checkpointing(model, plan.gradient_checkpointing):
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer, _ = make_optimizer(trainable, trial.method, 8)
        fake_step(model, trainable, optimizer, plan.micro_batch_size)
        for rules, context in (("cpu", nullcontext()), ("cuda", CudaAutocast())):
            storages = Storages(held_tensors(model, optimizer))
            row["held_gb"] = storages.live / GIB
            with context, storages:
                fake_step(model, trainable, optimizer, plan.micro_batch_size)
            row |= {f"{rules}_gb": storages.peak / GIB, "at": storages.at}
    return row


class CudaAutocast(TorchFunctionMode):
    """Computes IN_FLOAT32 in float32 where autocast is on."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function.__name__ in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map_only(torch.Tensor, widened, (args, kwargs))
        return function(*args, **(kwargs or {}))


def widened(tensor):
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def held_tensors(model, optimizer):
    for parameter in model.parameters():
        yield parameter
        if state := getattr(parameter, "quant_state", None):
            yield from (state.absmax, state.state2.absmax)
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def fake_step(model, trainable, optimizer, examples):
    """One optimiser step whose passes have `examples` examples, each with 64 answer tokens."""
    model.train()
    half = PADDED // 2
    targets = torch.ones(examples, half, dtype=torch.long)
    if model.config.is_encoder_decoder:
        inputs = {"input_ids": targets, "decoder_input_ids": targets}
    else:
        inputs = {"input_ids": targets.repeat(1, 2), "logits_to_keep": torch.arange(half - 1, PADDED - 1)}
    for _ in range(BATCH // examples):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = model(**inputs, use_cache=False)
        logits = output.logits.float()
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
        loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    optimizer.zero_grad()


class Storages(TorchDispatchMode):
    """Bytes of the storages that are alive, and the most there ever were, while this is entered.

    What torch.distributed._tools.mem_tracker.MemTracker counts, without its record of every module, which makes it ten
    times slower; both give 2.407 GiB for codet5p-220m/full.
    """

    def __init__(self, tensors):
        super().__init__()
        self.known = WeakIdKeyDictionary()
        self.live = self.peak = 0
        self.at = ""
        for tensor in tensors:
            self.see(tensor)

    def see(self, tensor):
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known[storage] = size = storage.nbytes()
            self.live += size
            weakref.finalize(storage, self.gone, size)

    def gone(self, size):
        self.live -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self.see, made)
        if self.live > self.peak:
            self.peak, self.at = self.live, str(function)
        return made


def origin_columns():
    columns = {**provenance(), "bitsandbytes_version": version("bitsandbytes")}
    return {name: str(value) for name, value in columns.items()}


def in_own_process(bar, arguments):
    """The row of a bar that is run by this script in another process."""
    print(bar.name, file=sys.stderr, flush=True)
    command = [sys.executable, __file__, *arguments, "--bar", bar.name]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    results = [line for line in finished.stdout.splitlines() if line.startswith(RESULT)]
    if finished.returncode or not results:
        return {"bar": bar.name, "status": f"failed (exit status {finished.returncode}, see above)"}
    return json.loads(results[-1].removeprefix(RESULT))


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
    lines = [f"| bar | {' | '.join(columns)} | result |", f"| --- | {'---: | ' * len(columns)}--- |"]
    for row in rows:
        bar = BARS[row["bar"]]
        _, plan = planned(bar, options)
        cells = [cell(column(row, bar, plan)) for column in columns.values()]
        lines.append(f"| {bar.name} | {' | '.join(cells)} | {row['status']} |")
    return "\n".join(lines)


def cell(value):
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
    return "-" if value is None else str(value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with CoNaLa's train.jsonl (needed unless --simulate)")
    parser.add_argument("--tokenizer", help="folder or GGUF file whose tokenizer measures lengths (default: the toy's)")
    parser.add_argument("--bars", nargs="+", choices=list(BARS), default=list(BARS), metavar="MODEL/METHOD")
    parser.add_argument(
        "--scale", choices=("true", "small"), default="true", help="small: to rehearse, measures nothing"
    )
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing on every bar")
    parser.add_argument("--budget", type=float, default=24, help="hard cap in GiB")
    parser.add_argument("--generation-batch-size", type=int, default=16, help="answers at once (the paper: 1)")
    parser.add_argument("--simulate", action="store_true", help="count a training step on fake tensors instead")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on a CPU")
    parser.add_argument("--output", help="write the table here as well")
    parser.add_argument("--bar", choices=list(BARS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.simulate and not (options.data and (Path(options.data) / "train.jsonl").is_file()):
        parser.error(f"--data must be a folder with CoNaLa's train.jsonl but got {options.data}")
    if options.bar:
        print(RESULT + json.dumps(run_bar(BARS[options.bar], options)), flush=True)
        return
    started = time.perf_counter()
    if options.simulate:  # which takes no memory that the next would miss
        rows = [simulate_bar(BARS[name], options) for name in options.bars]
    else:
        rows = [in_own_process(BARS[name], sys.argv[1:]) for name in options.bars]
    report = write_up(rows, options, time.perf_counter() - started)
    print(report)
    if options.output:
        Path(options.output).write_text(report, encoding="utf-8")


def write_up(rows, options, seconds):
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
    command = " ".join(["python benchmarks/memory.py", *(flag for flag, holds in given if holds)])
    about = f"`{command}`, {seconds:.0f} s in all, on {origin(rows)}."
    if options.simulate:
        return f"{SIMULATION}\n\n{about}\n\n{table(SIMULATED, rows, options)}\n"
    on_gpu = any(row.get("peak_memory_allocated_gb") for row in rows)
    title = f"# Peak GPU memory of Figure 1 under a cap of {options.budget:g} GiB" if on_gpu else REHEARSAL
    return f"{title}\n\n{about}\n{NOTES}\n\n{table(MEASURED, rows, options)}\n"


def origin(rows):
    """Hardware, versions and commit, as a bar's process saw them: this one keeps off the card."""
    row = next((row for row in rows if "device" in row), {})
    card = row.get("device", "unknown hardware")
    if row.get("device_memory_gb", "None") != "None":
        card += f" ({float(row['device_memory_gb']):.1f} GiB)"
    versions = ", ".join(f"{name} {row.get(f'{name}_version')}" for name in VERSIONS)
    dirty = " with uncommitted changes" if row.get("git_dirty") == "True" else ""
    return f"{card}, {versions}, commit {str(row.get('git_commit'))[:12]}{dirty}"


if __name__ == "__main__":
    main()
