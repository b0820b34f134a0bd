"""A small tokenizer like Llama's: a space marker before every text, and no split of a text but by merges."""

from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

LINES = ["### Instruction:", "reverse a list `x`", "### Response:", "x[::-1]", "def f(x):", "    return x[::-1]",
         "    return sorted(y)", "        pass", "A: x"]  # fmt: skip


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """BPE over text whose spaces are markers, with one before the text: normalizer and decoder of Llama's own file."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    # Learnt from lines, no token joins a line break with what stands beside it.
    alphabet = ["\n", "▁", *map(chr, range(33, 127))]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, max_token_length=8
    )
    tokenizer.train_from_iterator(LINES * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
