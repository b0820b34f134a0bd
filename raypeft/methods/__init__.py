"""The tuning methods, simplest first: what each one trains, its fields and its defaults.

A method is a class in a file of this folder, listed in `TuningMethod` and `METHODS` below. No other code of raypeft
depends on the name of a method. Defaults come from the paper (arXiv 2308.10462v3, section 4 and its replication
package). Where text and code of the paper differ, a field has the text's value and `paper_defaults` the code's.
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
