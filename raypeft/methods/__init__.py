"""The tuning methods, simplest first: what each one trains, its fields and its defaults.

A method is one class in a file of this folder and its name in the union `TuningMethod` below; nothing else in raypeft
tests a method's name. Defaults are the paper's (arXiv 2308.10462v3, section 4 and its replication package); where its
code differs from its text, the text's stand in the fields and the code's in `paper_defaults`.
"""

from typing import Annotated

from pydantic import Field

from raypeft.methods.layers import Ia3, Lora, Qlora4bit, Qlora8bit
from raypeft.methods.method import Icl, Method, Rag, ZeroShot
from raypeft.methods.trained import Adapter, Full, TrainedMethod
from raypeft.methods.virtual import PrefixTuning, PromptTuning

TuningMethod = Annotated[
    ZeroShot | Icl | Rag | Full | Lora | Qlora8bit | Qlora4bit | Ia3 | PromptTuning | PrefixTuning,
    Field(discriminator="name"),
]
METHODS: dict[str, type[Method]] = {
    method.model_fields["name"].default: method
    for method in (ZeroShot, Icl, Rag, Full, Lora, Qlora8bit, Qlora4bit, Ia3, PromptTuning, PrefixTuning)
}

__all__ = [
    "METHODS",
    "Adapter",
    "Full",
    "Ia3",
    "Icl",
    "Lora",
    "Method",
    "PrefixTuning",
    "PromptTuning",
    "Qlora4bit",
    "Qlora8bit",
    "Rag",
    "TrainedMethod",
    "TuningMethod",
    "ZeroShot",
]
