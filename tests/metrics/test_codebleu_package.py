"""The readings `paper` and `package` against the codebleu package itself, made to keep its sets in insertion order.

The package's functions are run unchanged, but with `set` meaning an ordered set and, for `paper`, Java's comment rules
and the study's keywords: what the study's program would have given without hash order.
"""

import importlib
import keyword
import random
import types
from importlib import resources

import pytest
from codebleu import bleu, weighted_ngram_match
from codebleu.parser import DFG
from codebleu.parser.utils import remove_comments_and_docstrings

from raypeft.metrics.codebleu.score import codebleu
from raypeft.metrics.codebleu.tree import without_java_comments
from raypeft.metrics.readings import Reading

# The package exports functions under some of its modules' names, hence not "from codebleu import".
dataflow_match = importlib.import_module("codebleu.dataflow_match")
syntax_match = importlib.import_module("codebleu.syntax_match")

PROGRAMS = [
    "x, y = y, x",
    "a.b = c.d\na[0] = b[1]\n(a, b), c = d, e",
    "x, y, z = 'ab'\nw = x",
    "total: int = 0\ntotal += price * 2  # // 3\nrate = total // 3",
    "url = 'http://example.org' /* not Python */ + '/*' + \"\\\"//\"",
    "s = 'é' + a + 'ü'; t = s + a\nzürich = t",
    "text = '''one\ntwo''' + f'{a!r:>{width}}' + rb'x'",
    "f = lambda a, b=c, *d, **e: [a for a, g in b if a not in d for h in g]",
    "if a:\n    b = 1\nelif c:\n    b = 2\n    d = b\nelse:\n    e = b\nf = b + d + e",
    "if a:\n    b = 1\nif c:\n    b = b + a\nd = b",
    "for i, (k, v) in enumerate(d.items()):\n    for j in v:\n        while k < j:\n            k += i\n        i = k",
    "for x in xs:\n    y = x\nelse:\n    z = y\nprint(y, z)",
    "while a:\n    if b:\n        a, b = b, c\n    else:\n        c = a\nd = a, b, c",
    "def f(a, b=1, *, c: int = a) -> int:\n    '''Doc.'''\n    return (n := a + b) if c is not None else n",
    "class A(B):\n    x = y = z\n    @property\n    def p(self): return self.x\n",
    "try:\n    with open(p) as f, g() as h: data = f.read()\nexcept (A, B) as e: raise C from e\nfinally: del data",
    "match command:\n    case [x, *rest] if rest: print(x)\n    case {'k': v}: type T = v",
    "identifier = integer = identifier + 1\nprint >>f, x\nexec 'x'",
    "async def f():\n    async for a in b: await a\n    return {**a, 'k': [*b]}, {x: y for x, y in z}",
    "x = [\n  1,  # one\n  a,\n]\n\\\ny = x[1:2, ::3] @ -a ** ~b",
]


def damaged(program, chance):
    """The program cut, thinned out, shuffled or joined to one line, as bad predictions are."""
    words = program.split(" ")
    chance.shuffle(words)
    return [
        program,
        program[: chance.randrange(len(program))],
        program[chance.randrange(len(program)) :],
        "".join(char for char in program if chance.random() > 0.1),
        "".join(chance.choice("()[]:'\"\n#=, \0é") if chance.random() < 0.05 else char for char in program),
        " ".join(words),
        program.replace("\n", " "),
    ]


class OrderedSet(dict):
    def __init__(self, items=()):
        super().__init__(dict.fromkeys(items))

    def add(self, item):
        self[item] = None


def java_rules(source, lang):
    return remove_comments_and_docstrings(source, "java")


def rebound(module, names, **replaced):
    """Copies of a module's functions that look up `replaced` and each other instead of the module's globals."""
    space = {**vars(module), **replaced}
    for name in names:
        original = getattr(module, name)
        space[name] = types.FunctionType(original.__code__, space, name, original.__defaults__)
    return space


PACKAGE_KEYWORDS = (resources.files("codebleu") / "keywords" / "python.txt").read_text("utf-8").split()


@pytest.fixture(scope="module", params=[Reading.PAPER_RQ2, Reading.PAPER_RQ1])
def package_scores(request):
    """A reading, and a function that scores one pair by the package."""
    paper = request.param is Reading.PAPER_RQ2
    rules = {"remove_comments_and_docstrings": java_rules} if paper else {}
    keywords = keyword.kwlist if paper else PACKAGE_KEYWORDS
    walk = rebound(DFG, ["DFG_python"], set=OrderedSet)["DFG_python"]
    flow = rebound(
        dataflow_match,
        ["corpus_dataflow_match", "get_data_flow", "normalize_dataflow"],
        set=OrderedSet,
        dfg_function={"python": walk},
        **rules,
    )["corpus_dataflow_match"]
    syntax = rebound(syntax_match, ["corpus_syntax_match"], **rules)["corpus_syntax_match"]

    def score(reference, prediction):
        reference, prediction = reference.strip(), prediction.strip()
        expected, predicted = reference.split(), prediction.split()
        weights = {token: 1 if token in keywords else 0.2 for token in expected}
        parts = {
            "ngram_match": bleu.corpus_bleu([[expected]], [predicted]),
            "weighted_ngram_match": weighted_ngram_match.corpus_bleu([[[expected, weights]]], [predicted]),
            "syntax_match": syntax([[reference]], [prediction], "python"),
            "dataflow_match": flow([[reference]], [prediction], "python"),
        }
        gift = 0 if paper or parts["dataflow_match"] else 1
        return {"codebleu": (sum(parts.values()) + gift) / 4, **parts}

    return request.param, score


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_reading_is_the_package_with_ordered_sets(program, package_scores):
    reading, score = package_scores
    chance = random.Random(program)
    texts = damaged(program, chance) + damaged(chance.choice(PROGRAMS), chance)
    for reference in texts[:3]:
        for prediction in texts:
            ours = codebleu([reference], [prediction], reading)
            assert ours == pytest.approx(score(reference, prediction), abs=1e-12), (reference, prediction)


def test_java_comments_are_cut_as_the_package_cuts_them():
    chance = random.Random(0)
    pieces = ["'", '"', "/", "*", "\\", "\n", "//", "/*", "*/", "a", " "]
    for _ in range(5000):
        text = "".join(chance.choices(pieces, k=chance.randrange(25)))
        assert without_java_comments(text) == java_rules(text, "python"), text
