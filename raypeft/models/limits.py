"""What a loaded model's configuration tells of lengths, whatever its class calls them. All are in tokens.

context_length(model.config)      # the longest sequence
rope_switch(model.config)         # beyond this length, positions are encoded in another way
"""

from collections.abc import Iterator, Mapping
from typing import Any

LENGTHS = (
    "max_position_embeddings",
    "max_seq_len",
    "max_encoder_position_embeddings",
    "max_decoder_position_embeddings",
)
"""Names of the longest sequence. T5's `n_positions` is no limit, nor is BLOOM's `seq_length`."""


def context_length(config: Any) -> int | None:
    """The longest sequence that a model takes; of an encoder-decoder with two limits (LED) the shorter one.

    None where there is no end: T5's positions are relative, XLNet's and Mamba's have none.
    """
    parts = (config, config.get_text_config(decoder=True), config.get_text_config(encoder=True))
    found = (getattr(part, name, None) for part in parts for name in LENGTHS)
    return min((each for each in found if isinstance(each, int) and each > 0), default=None)


def rope_switch(config: Any) -> int | None:
    """The length up to which a model with LongRoPE (Phi-3 and its kin; arXiv 2402.13753) uses its short factors. None:
    it has no LongRoPE.

    The longest sequence of a batch decides for the whole batch, and keys that were read with the short factors are of
    no use beyond. `generate` of Transformers then reads a sequence anew, which is right for one at a time alone.
    """
    values = config.get_text_config(decoder=True).to_dict()
    own = values.get("original_max_position_embeddings") or values.get("max_position_embeddings")
    found = [each.get("original_max_position_embeddings") or own for each in _mappings(values)
             if "longrope" in (each.get("rope_type"), each.get("type"))]  # fmt: skip
    return min((int(each) for each in found if each), default=None)


def _mappings(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The mappings in a configuration, those in others included: some classes have one for each kind of layer."""
    for each in value.values():
        if isinstance(each, Mapping):
            yield each
            yield from _mappings(each)
