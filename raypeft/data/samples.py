"""How answers to problems with tests are drawn, unless a sweep says otherwise."""

SAMPLES = {
    "num_beams": 1,
    "do_sample": True,
    "num_return_sequences": 5,
    "temperature": 0.6,
    "top_p": 0.95,
}
"""Five samples a problem, as in the paper (arXiv 2308.10462v3, RQ4)."""
