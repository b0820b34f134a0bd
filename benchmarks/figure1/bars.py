"""The bars of the paper's Figure 1, each as a trial, and what is said of where a bar was run."""

from dataclasses import dataclass
from importlib.metadata import version

from raypeft.methods import METHODS
from raypeft.study.config import Trial
from raypeft.study.memory import predict
from raypeft.study.options import Resources
from raypeft.trial.provenance import provenance

PADDED = 128
"""Prompt and answer together as the paper's code pads them on CoNaLa (64 and 64 for an encoder-decoder)."""
BATCH = 8


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


def origin_columns():
    columns = {**provenance(), "bitsandbytes_version": version("bitsandbytes")}
    return {name: str(value) for name, value in columns.items()}
