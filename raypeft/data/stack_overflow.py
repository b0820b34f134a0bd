"""The questions of Stack Overflow that CoNaLa and ODEX were made from, by which their examples are known as the same.

question_of("123-45"), question_of("123#2")     # ("123", "123")
"""


def question_of(example_id: str) -> str:
    """The question that an example is from: CoNaLa numbers the examples of a question (`123-45`), and a repeated id has
    a mark (`123#2`, `raypeft.data.sources.unique`)."""
    return example_id.partition("#")[0].partition("-")[0]
