"""How many kernels a training step and a decoding step launch. On a GPU small models wait for their launches.

    python benchmarks/launches.py --out benchmarks/results/launches.md

The models have the layers of the named ones, but are a few features wide: the number of launches does not depend on the
width. Counted on a CPU, where the same operations run, without CUDA graphs: with one a step is a single launch.
"""

import tempfile
from functools import partial

import torch
from counting import Launches, of_a_decoding_step
from reports import add_out, arguments, command, head, publish, row
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from raypeft.data import DATASETS
from raypeft.decoding.search import Search
from raypeft.decoding.selfcheck import choose_path
from raypeft.methods import METHODS
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder
from raypeft.training.batches import collate_for
from raypeft.training.packing import collate_packed
from raypeft.training.step import Passes, make_optimizer, optimise_step

LLAMA = {"hidden_size": 72, "intermediate_size": 96, "num_attention_heads": 9}
MODELS = {
    "SmolLM2-135M": ("llama", LLAMA | {"num_key_value_heads": 3, "num_hidden_layers": 30, "tie_word_embeddings": True}),
    "CodeLlama-7b": ("llama", LLAMA | {"num_key_value_heads": 9, "num_hidden_layers": 32}),
    "codegen-350M-mono": ("codegen", {"n_embd": 64, "n_layer": 20, "n_head": 4, "rotary_dim": 8}),
    "codet5p-220m": ("t5", {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 12, "num_heads": 4,
                            "decoder_start_token_id": 1}),
}  # fmt: skip
"""Name -> Transformers' type, and the settings of its config."""
TUNED = ("lora", "full")


def make_thin(name, folder):
    """A random model with the layers of this one, as a folder."""
    kind, sizes = MODELS[name]
    tokenizer = load_base("toy").tokenizer
    end = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **end, **sizes)
    torch.manual_seed(0)
    (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def of_training(model, method, base, prompts):
    """Launches of a step over one batch, the second one, and of the optimiser alone."""
    pad = base.tokenizer.pad_token_id
    packed = partial(collate_packed, pad_token_id=pad, device=model.device)
    passes = Passes(model, partial(collate_for, model, pad_token_id=pad) if base.is_encoder_decoder else packed)
    optimizer, _ = make_optimizer(model.train(), method, 10)
    for _ in range(2):
        with Launches() as step:
            optimise_step(passes, passes.add_gradients([prompts]), optimizer, 1.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    with Launches() as alone:
        optimizer.step()
    return step.count, alone.count


def main():
    parser = arguments(__doc__)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            make_thin(name, folder)
            for method in TUNED:
                base = load_base(folder, folder)
                encoder = Encoder(base.tokenizer, base.is_encoder_decoder)
                prompts = [encoder.encode(each) for each in DATASETS["toy"].load(None, None)["train"][:8]]
                with METHODS[method]().applied(base) as model:
                    step, alone = of_training(model, METHODS[method](), base, prompts)
                    path = choose_path(model.eval(), base.tokenizer, Search(6, num_beams=10), 60).path
                    decoding = of_a_decoding_step(model, base.tokenizer, prompts, path)
                rows.append(row(name, method, f"{step:,}", f"{alone:,}", f"{decoding:,.0f}", path))
    headings = ("model", "method", "> training step", "> of these Adafactor", "> decoding step", "decoding_path")
    publish([command("launches"), "", *head(*headings), *rows], options.out)


if __name__ == "__main__":
    main()
