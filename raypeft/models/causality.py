"""Whether a loaded model writes from left to right.

check_causal(model)

Some encoders load as causal language models: their layers then see the tokens that come later. Such a model could be
trained, and its loss would fall to nothing, since it reads the answer that it is to give.
"""

from __future__ import annotations

from typing import Any

from raypeft.gpu import is_out_of_memory

SHARE = 0.1
"""How much earlier logits may change beside the last ones, where the last token alone is another. Measured with random
weights: 0 for causal models, in int8 as well, and 0.3 and more for encoders."""
TOKENS = 6


def check_causal(model: Any) -> None:
    """Raise ValueError where a decoder's answer to the first tokens depends on a later one. Takes two short passes."""
    import torch

    if model.config.is_encoder_decoder:
        return
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(TOKENS, device=model.device).remainder(rows)[None]
    other = ids.clone()
    other[0, -1] = (TOKENS + 1) % rows
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            change = (model(ids).logits - model(other).logits).float().abs().amax(dim=-1)[0]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return  # what cannot be run is told where it is needed
    finally:
        model.train(was_training)
    if change[:-1].max() > SHARE * change[-1]:
        raise ValueError(f"must be a causal language model or an encoder-decoder but is of the type "
                         f"{model.config.model_type}, whose answer to a token depends on the tokens after it: as it is "
                         f"configured, it is an encoder")  # fmt: skip
