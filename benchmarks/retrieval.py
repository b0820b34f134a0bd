"""Retrieval on CoNaLa: seconds to embed, to index, to search, and whether the cached index answers as the fresh one.

    python benchmarks/retrieval.py --data datasets/conala --models toy bm25 minilm --out benchmarks/results/retrieval.md

The 16 nearest training instructions of each of the 543 test queries, as RAG asks for them. Search is measured against
the named alternatives on the same embeddings, taking turns: `semantic_search` of sentence-transformers, a numpy
product with a stable sort, and, for BM25, the package's own `retrieve`. The last column says what was found: how many
words the reference's code shares with the code of the nearest example (Jaccard, mean), beside that of a random one.
"""

import re
import tempfile
from random import Random
from statistics import mean, median

import faiss
import numpy as np
import torch
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row, timed
from sentence_transformers.util import semantic_search

from raypeft.data import DATASETS
from raypeft.machine import device_name
from raypeft.retrieval.retriever import BM25, NEAR, make_retriever, near_duplicates

K = 16


def take_turns(programs, rounds):
    """Results of each program and its seconds in each round, the programs taking turns."""
    results, seconds = {}, {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            results[name], taken = timed(program)
            seconds[name].append(taken)
    return results, seconds


def code_overlap(tests, train, nearest):
    """Mean Jaccard similarity of the words in each test's code and in the code of its nearest example."""
    words = [[set(re.findall(r"\w+", each.code)) for each in split] for split in (tests, train)]
    pairs = [(words[0][test], words[1][row]) for test, row in enumerate(nearest)]
    return mean(len(one & other) / max(1, len(one | other)) for one, other in pairs)


def measure_embeddings(model, train, tests, rounds):
    queries = [example.nl for example in tests]
    with tempfile.TemporaryDirectory() as cache:
        fresh, from_nothing = timed(make_retriever, model, train, cache)
        vectors, of_queries = timed(fresh.embed, queries)
        cached, from_cache = timed(make_retriever, model, train, cache)

        def index_and_search():
            fresh.index = faiss.IndexFlatIP(fresh.vectors.shape[1])
            fresh.index.add(fresh.vectors)
            return fresh.search(queries, K)

        def with_semantic_search():
            found = semantic_search(torch.from_numpy(vectors), torch.from_numpy(fresh.vectors), top_k=K)
            return [[hit["corpus_id"] for hit in hits] for hits in found]

        def with_numpy():
            return np.argsort(-(vectors @ fresh.vectors.T), axis=1, kind="stable")[:, :K].tolist()

        programs = {"raypeft": index_and_search, "semantic_search": with_semantic_search, "numpy": with_numpy}
        found, seconds = take_turns(programs, rounds)
        same = sum(a == b for a, b in zip(found["raypeft"], cached.search(queries, K), strict=True))
        leaks = near_duplicates(fresh, tests)
    scores = vectors.astype(np.float64) @ fresh.vectors.T.astype(np.float64)
    near = f"{sum(each.exact for each in leaks)} exact, {sum(not each.exact for each in leaks)} near"
    return (
        found,
        seconds,
        scores,
        [f"{from_nothing:.2f}", f"{from_cache:.3f}", f"{of_queries:.2f}", f"{same}/{len(queries)}", near],
    )


def measure_bm25(train, tests, rounds):
    import bm25s

    queries = [example.nl for example in tests]
    texts = [re.findall(r"\w+", example.nl.lower()) for example in train]

    def with_the_package():
        scorer = bm25s.BM25(dtype="float64")
        scorer.index(texts, show_progress=False)
        asked = [re.findall(r"\w+", query.lower()) for query in queries]
        return scorer.retrieve(asked, k=K, show_progress=False)[0].tolist()

    programs = {"raypeft": lambda: make_retriever(BM25, train).search(queries, K), "bm25s.retrieve": with_the_package}
    found, seconds = take_turns(programs, rounds)
    scorer = make_retriever(BM25, train).scorer
    scores = np.stack([scorer.get_scores(re.findall(r"\w+", query.lower())) for query in queries])
    return found, seconds, scores, ["-", "-", "-", "-", "-"]


def agreement(ours, theirs, scores):
    """How many queries get the same list from both, and how far the scores of the two lists are apart at most."""
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    gap = max(
        abs(scores[query, a] - scores[query, b]).max() for query, (a, b) in enumerate(zip(ours, theirs, strict=True))
    )
    return f"{same}/{len(ours)}", f"{gap:.0e}"


def search_row(name, other, found, seconds, scores):
    """Our seconds to index and search against those of another way, and how far the two agree."""
    ours, theirs = seconds["raypeft"], seconds[other]
    ratio = f"{min(theirs) / min(ours):.2f}"
    same = agreement(found["raypeft"], found[other], scores)
    return row(
        name, f"{min(ours):.3f} ({median(ours):.3f})", other, f"{min(theirs):.3f} ({median(theirs):.3f})", ratio, *same
    )


def main():
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True, help="folder of CoNaLa's splits")
    parser.add_argument(
        "--models", nargs="+", default=["toy", BM25], help="embedding models; name=folder names a folder"
    )
    add_numbers(parser, rounds=25, threads=2)
    add_out(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    splits = DATASETS["conala"].load(options.data, None)
    train, tests = splits["train"], splits["test"]
    make_retriever("toy", train[:1], tempfile.mkdtemp())  # imports what all use
    models, searches, names = [], [], []
    for given in options.models:
        name, _, folder = given.partition("=")
        names.append(f"{name}=FOLDER" if folder else name)
        measured = (
            measure_bm25(train, tests, options.rounds)
            if name == BM25
            else measure_embeddings(folder or name, train, tests, options.rounds)
        )
        found, seconds, scores, columns = measured
        overlap = code_overlap(tests, train, [rows[0] for rows in found["raypeft"]])
        models.append(row(name, *columns, f"{overlap:.3f}"))
        searches += [search_row(name, other, found, seconds, scores) for other in seconds if other != "raypeft"]
        print(f"measured {name}", flush=True)
    generator = Random(0)
    random = code_overlap(tests, train, [generator.randrange(len(train)) for _ in tests])
    how = command("retrieval", "--data CONALA", f"--models {' '.join(names)}", flags(options, "rounds", "threads"))
    report = [
        f"# Retrieval: {len(tests)} queries against {len(train)} instructions, the {K} nearest",
        "",
        how,
        f"on {device_name()}, threads: {options.threads}, torch {torch.__version__}, faiss {faiss.__version__}. Seconds.",
        "",
        *searches_text(searches, options.rounds),
        "",
        *models_text(models, random),
    ]
    publish(report, options.out)


def searches_text(searches, rounds):
    return [
        f"Index and search, the embeddings at hand (fastest and median of {rounds} rounds, taking turns; ratio: the other's fastest over ours):",
        "",
        *head(
            "model", "> raypeft", "the other", "> the other's seconds", "> ratio", "same lists", "> scores differ by"
        ),
        *searches,
        "",
        "Lists differ where scores tie (train repeats instructions), within float noise; raypeft keeps ties in the order of train.",
    ]


def models_text(models, random):
    times = ("> ready from nothing", "> ready from the cache", "> embedding the queries", "> cached answers as fresh")
    return [
        f"Getting there. Near-duplicates between test and train are those with a cosine of {NEAR} or more; the code overlap of a",
        f"random example is {random:.3f}.",
        "",
        *head("model", *times, "leaks", "> code overlap"),
        *models,
    ]


if __name__ == "__main__":
    main()
