"""Sampling speed: ours against `generate` of Transformers on left-padded batches, and against ours with all rows to the end.

    python benchmarks/sampling.py --model models/SmolLM2-135M-Instruct.Q4_1.gguf --data datasets/mbpp.jsonl \\
        --out benchmarks/results/sampling.md

The same problems of MBPP, prompts, temperature and nucleus, the ways alternating in one process after a few uncounted tokens
of each. Ours must find the same candidates whether rows that have ended are left out or not, or the run fails. Those of
`generate` are other draws of the same distribution; tokens a candidate are given beside them.
"""

from statistics import mean, median

import torch
from generation import spread
from reports import MODEL, add_numbers, add_out, arguments, command, flags, head, publish, row, timed
from torch.nn.utils.rnn import pad_sequence

from raypeft.data import DATASETS
from raypeft.decoding import steps
from raypeft.decoding.generation import Search, generate
from raypeft.machine import device_name
from raypeft.models.loading import load_base
from raypeft.prompting.encoding import Encoder

KEPT = steps.MOST_KEPT
DRAWS = {"do_sample": True, "temperature": 0.6, "top_p": 0.95}


def ours(base, prompts, tokens, options, most_kept):
    """The candidates of each problem, leaving out rows once at most such a part of them is left."""
    steps.MOST_KEPT = most_kept
    search = Search(max_new_tokens=tokens, num_return_sequences=options.samples, stop=stops(), top_k=None,
                    batch_size=options.batch_size, **DRAWS)  # fmt: skip
    return generate(base.model, base.tokenizer, prompts, search)


def left_padded(base, prompts, tokens, options):
    """The tokens of each candidate of `generate`."""
    lengths = []
    for start in range(0, len(prompts), options.batch_size):
        sequences = [torch.tensor(each.prompt_ids) for each in prompts[start : start + options.batch_size]]
        pad = base.tokenizer.pad_token_id
        ids = pad_sequence(sequences, batch_first=True, padding_value=pad, padding_side="left")
        masks = pad_sequence([torch.ones_like(each) for each in sequences], batch_first=True, padding_side="left")
        rows = base.model.generate(
            ids, attention_mask=masks, max_new_tokens=tokens, num_return_sequences=options.samples, top_k=0,
            stop_strings=[*stops()], tokenizer=base.tokenizer, **DRAWS,
        )  # fmt: skip
        lengths += (rows[:, ids.shape[1] :] != pad).sum(dim=1).tolist()
    return lengths


def stops():
    return DATASETS["mbpp"].untuned_stop


def main():
    parser = arguments(__doc__)
    parser.add_argument("--model", help=MODEL)
    parser.add_argument("--data", required=True, help="file of MBPP")
    add_numbers(parser, problems=8, samples=5, tokens=256, batch_size=8, rounds=2, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base = load_base(options.model or "toy", options.model)
    base.model.to(torch.float32)
    test = DATASETS["mbpp"].load(options.data, None)["test"]
    prompts = [Encoder(base.tokenizer).encode(example, []) for example in test[: options.problems]]
    ways = {
        "generate": lambda some, tokens: left_padded(base, some, tokens, options),
        "all rows": lambda some, tokens: ours(base, some, tokens, options, 0),
        "ours": lambda some, tokens: ours(base, some, tokens, options, KEPT),
    }
    for decode in ways.values():
        decode(prompts[:1], 4)  # warms up and is not counted
    seconds, found = {name: [] for name in ways}, {}
    for _ in range(options.rounds):
        for name, decode in ways.items():
            found[name], took = timed(decode, prompts, options.tokens)
            seconds[name].append(took)
            print(f"{name}: {took:.1f} s", flush=True)
    texts = [[[each.text for each in row] for row in found[name]] for name in ("all rows", "ours")]
    assert texts[0] == texts[1], "the candidates differ"
    lengths = {name: [each.token_count for row in found[name] for each in row] for name in ("all rows", "ours")}
    lengths["generate"] = found["generate"]
    publish(report(options, seconds, lengths), options.out)


def report(options, seconds, lengths):
    """The lines of the report."""
    how = ["--model MODEL"] if options.model else []
    titles = {"generate": "`generate`, left-padded", "all rows": "raypeft, all rows to the end", "ours": "raypeft"}
    return [
        "# Sampling: seconds for the candidates of some problems",
        "",
        f"{command('sampling', *how, '--data MBPP', flags(options, 'problems', 'samples', 'tokens', 'batch_size', 'rounds'))}:",
        f"zero-shot, temperature 0.6, top_p 0.95, stops of MBPP, float32, {options.threads} threads, {device_name()}, torch {torch.__version__}.",
        "",
        *head("way", "> seconds", "> tokens a candidate", "> longest", "raypeft is so many times as fast"),
        *(
            row(
                title,
                f"{median(seconds[name]):.1f}",
                f"{mean(lengths[name]):.0f}",
                max(lengths[name]),
                "" if name == "ours" else spread(seconds[name], seconds["ours"]),
            )
            for name, title in titles.items()
        ),
    ]


if __name__ == "__main__":
    main()
