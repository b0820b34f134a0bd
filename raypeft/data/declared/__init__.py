"""Datasets of the user's own, which a sweep file declares under `datasets:`.

    datasets:
      reviews: {path: data.jsonl, prompt: instruction, answer: output}

`files` reads the rows, `declaration` has the fields, `examples` makes examples of the rows, `splits` the missing
splits, `dataset` puts them together, and `mix` joins several datasets.
"""
