"""
Makes the embedded toy model again: corpus, tokenizer and weights, from nothing, into raypeft/data/toy_model.
About half an hour on two CPU cores; a GPU is used where there is one, and takes a few minutes.

    python -m scripts.pretrain_toy
    python -m scripts.pretrain_toy --documents 1000 --out /tmp/toy_model      # a smoke run

On Linux, MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 before the command saves a CPU a third of the time:
without them every large tensor is given back to the system and cleared again.

A Llama of 2 million parameters with a byte-level BPE tokenizer of its own. Muon trains the matrices, AdamW the rest;
products run in bf16, weights stay fp32. The weights of another machine or PyTorch will differ a little, and so will a
few answers. While it runs it scores a few validation rows, never test rows. All that the weights depend on is written
to pretraining.json beside them.
"""

import argparse
import json
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from raypeft.data import toy
from raypeft.decoding.generation import Search, generate
from raypeft.prompting.encoding import Encoder
from scripts.toy_corpus import Segment, documents, fingerprint

OUT = Path(__file__).parents[1] / "raypeft" / "data" / "toy_model"

CORPUS_SEED = 1
VOCABULARY = 1_536
TOKENS_PER_STEP = 6_000
TOKENS_PER_BATCH = 4_000  # of one forward pass, padding included
MUON_LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 4e-3
WARMUP = 0.03
END, PAD = "<|end|>", "<|pad|>"

Encoded = tuple[torch.Tensor, torch.Tensor]
"""Token ids, and each token's weight in the loss."""


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Words, runs of blanks, single digits and single marks are never merged with one another, so that a name has the
    same tokens inside backticks, after a blank and in code, and can be copied."""
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"[A-Za-z]+|[0-9]|\n| +|[^A-Za-z0-9 \n]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def causal_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **unused: object,
) -> tuple[torch.Tensor, None]:
    """Plain attention in the matrices' own dtype: on a CPU, for short documents, 1.5 times as fast as PyTorch's own.
    It needs no padding mask, since the padding is on the right and weighs nothing in the loss."""
    scores = query @ key.transpose(-1, -2) * scaling
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    weights = torch.softmax(scores.masked_fill_(future, -1e4), dim=-1)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("causal_attention", causal_attention)


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.03,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def encode(corpus: Sequence[Sequence[Segment]], tokenizer: PreTrainedTokenizerFast) -> list[Encoded]:
    texts = [text for segments in corpus for text, _ in segments]
    pieces = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts))
    encoded = []
    for segments in corpus:
        ids: list[int] = []
        weights: list[float] = []
        for _, weight in segments:
            piece = next(pieces).ids
            ids += piece
            weights += [weight] * len(piece)
        encoded.append((torch.tensor([*ids, tokenizer.eos_token_id]), torch.tensor([*weights, 1.0])))
    return encoded


def steps(encoded: Sequence[Encoded], pad: int) -> Iterator[list[Encoded]]:
    """One step's documents, sorted by length into right-padded batches: no document sees another, little is padding."""
    start = tokens = 0
    for end, (ids, _) in enumerate(encoded, start=1):
        tokens += len(ids)
        if tokens >= TOKENS_PER_STEP:
            yield list(padded_batches(sorted(encoded[start:end], key=lambda one: len(one[0])), pad))
            start, tokens = end, 0


def padded_batches(ordered: Sequence[Encoded], pad: int) -> Iterator[Encoded]:
    def collate(chosen: Sequence[Encoded]) -> Encoded:
        ids, weights = zip(*chosen, strict=True)
        return (
            torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad),
            torch.nn.utils.rnn.pad_sequence(weights, batch_first=True),
        )

    batch: list[Encoded] = []
    for one in ordered:
        if batch and (len(batch) + 1) * len(one[0]) > TOKENS_PER_BATCH:
            yield collate(batch)
            batch = []
        batch.append(one)
    yield collate(batch)


def train_step(model: LlamaForCausalLM, batches: Sequence[Encoded]) -> float:
    total = sum(float(weights[:, 1:].sum()) for _, weights in batches)
    loss = 0.0
    for ids, weights in batches:
        ids, weights = ids.to(model.device), weights[:, 1:].to(model.device)
        weighty = weights > 0  # the other tokens need no logits
        with torch.autocast(model.device.type, torch.bfloat16):
            states = model.model(input_ids=ids, use_cache=False).last_hidden_state
            logits = model.lm_head(states[:, :-1][weighty])
        each = functional.cross_entropy(logits.float(), ids[:, 1:][weighty], reduction="none")
        part = (each * weights[weighty]).sum() / total
        part.backward()
        loss += float(part.detach())
    return loss


def exact_match(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, num_shots: int, rows: int = 40) -> float:
    """EM@5 of 5 beams on some validation rows: cheap, and only to watch the run."""
    splits = toy.load()
    shots = splits["train"][:num_shots]
    chosen = splits["validation"][:rows]
    model.set_attn_implementation("sdpa")
    candidates = generate(
        model,
        tokenizer,
        [Encoder(tokenizer).encode(row, shots) for row in chosen],
        Search(num_beams=5, num_return_sequences=5, max_new_tokens=32, stop=toy.DATASET.untuned_stop),
    )
    model.set_attn_implementation("causal_attention")
    model.train()
    found = [row.code in {one.text.strip() for one in five} for row, five in zip(chosen, candidates, strict=True)]
    return sum(found) / rows


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, encoded: Sequence[Encoded], every: int) -> list:
    """One pass over the corpus, linear warm-up and decay. Returns what it logged."""
    total = sum(1 for _ in steps(encoded, 0))
    chosen = optimizers(model)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            one, lambda step: min((step + 1) / (WARMUP * total + 1), (total - step) / (total * (1 - WARMUP)))
        )
        for one in chosen
    ]
    log, recent, start = [], [], time.perf_counter()
    for step, batches in enumerate(steps(encoded, tokenizer.pad_token_id), start=1):
        recent.append(train_step(model, batches))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one, schedule in zip(chosen, schedules, strict=True):
            one.step()
            one.zero_grad()
            schedule.step()
        if step % 20 == 0 or step == total:
            entry = {"step": step, "loss": round(sum(recent) / len(recent), 4)}
            entry["seconds"] = round(time.perf_counter() - start)
            if step % every == 0 or step == total:
                entry |= {f"validation_em_at_5_{n}_shots": exact_match(model, tokenizer, n) for n in (0, 8)}
            print(f"{step}/{total}", json.dumps(entry), flush=True)
            log.append(entry)
            recent = []
    return log


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, record: dict, out: Path) -> None:
    """Written beside the target and then moved: a half-written model is never found."""
    draft = out.with_name(out.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    model.set_attn_implementation("sdpa")
    tokenizer.padding_side = "right"
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(draft)
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(draft)
    (draft / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=22_000, help="length of the corpus")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write (replaced)")
    parser.add_argument("--evaluate-every", type=int, default=200, help="steps between looks at validation rows")
    args = parser.parse_args()
    start = time.perf_counter()
    torch.manual_seed(CORPUS_SEED)
    corpus = list(documents(CORPUS_SEED, args.documents))
    tokenizer = train_tokenizer(["".join(text for text, _ in segments) for segments in corpus[:8_000]])
    encoded = encode(corpus, tokenizer)
    model = build_model(tokenizer)
    model.set_attn_implementation("causal_attention")
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    tokens = sum(len(ids) for ids, _ in encoded)
    print(f"{tokens:,} tokens, {model.num_parameters():,} parameters, {time.perf_counter() - start:.0f} s", flush=True)
    log = train(model, tokenizer, encoded, args.evaluate_every)
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    record = {
        "corpus_seed": CORPUS_SEED,
        "corpus_sha256": fingerprint(corpus),
        "documents": args.documents,
        "tokens": tokens,
        "steps": log[-1]["step"],
        "parameters": model.num_parameters(),
        "wall_seconds": round(time.perf_counter() - start),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "versions": versions,
        "log": log,
    }
    save(model.cpu(), tokenizer, record, args.out)


if __name__ == "__main__":
    main()
