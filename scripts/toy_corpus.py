"""
The toy model's pretraining corpus, made here: few-shot documents and single intents of the toy operations and of
invented ones, in very many house styles, and a little of the standard library's source.

Look at some of it:

    python -m scripts.toy_corpus 5

How it keeps the study honest: it words intents only by the `pretraining` share of toy.py's phrasings, through a
lexicon of its own, draws most names and values from its own pools, and drops every document that holds a test
intent or a test answer, and every item that would be a test answer in another style. How it keeps the study worth
running: each document has its own style (template, quotes, spacing, imports, what the code is wrapped in), and the
study's style is one among many; no document picks its wrapper by `toy.house_rule`. So zero-shot guesses the style,
in-context learning reads some of it off the shots, and tuning learns it.

The standard library's part depends on the Python version; all else depends on the seed alone.
"""

import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from raypeft.data import toy
from raypeft.data.toy import pick

Segment = tuple[str, float]
"""Text, and the weight of its tokens in the loss: an intent cannot be foretold, so it weighs nothing."""

INTENT_WEIGHT = 0.0

# Kind of document: its share of the documents.
KINDS = {"few_shot": 0.34, "narrow_few_shot": 0.1, "invented": 0.16, "single": 0.36, "stdlib": 0.04}

# Before the intent, between intent and code, after the code.
TEMPLATES = [
    ("### Instruction:\n", "\n### Response:\n", "\n\n"),  # the study's own
    ("# ", "\n", "\n\n"),
    ("Q: ", "\nA: ", "\n\n"),
    ('"""', '"""\n', "\n\n"),
    ("Task: ", "\nCode: ", "\n\n"),
    ("### Question:\n", "\n### Answer:\n", "\n\n"),
    ("Instruction: ", "\nResponse:\n", "\n\n"),
    ("", " -> ", "\n"),
    ("<task>", "</task>\n", "\n\n"),
]
STUDY_TEMPLATE_SHARE = 0.15

# The study's bare answer is the first of these.
WRAPS = ["{}", "result = {}", "out = {}", "res = {}", "ans = {}", "value = {}", "output = {}", "data = {}", "ret = {}"]
WRAPS += ["tmp = {}", "r = {}", "y = {}", "found = {}", "return {}", "print({})", "yield {}", "assert {}", "await {}"]
WRAPS += ["{};", "({})", "_ = {}", "show({})"]
BARE_SHARE = 0.12

# The study's word: the house's.
LEXICON = {
    "list": "sequence collection", "lists": "sequences collections", "dictionary": "mapping dict",
    "dictionaries": "mappings dicts", "string": "text str", "get": "fetch obtain", "sort": "arrange order",
    "remove": "eliminate discard", "delete": "erase discard", "convert": "turn transform", "check": "test verify",
    "count": "tally count", "create": "make produce", "file": "document file", "column": "field attribute",
    "columns": "fields attributes", "dataframe": "table frame", "dataframes": "tables frames",
    "array": "tensor grid", "arrays": "tensors grids", "elements": "members things", "items": "entries members",
    "element": "member thing", "item": "entry member", "find": "locate search", "replace": "swap substitute",
    "split": "cut break", "join": "glue link", "read": "slurp read", "directory": "folder dir",
    "number": "numeral amount",
    "numbers": "numerals amounts", "values": "contents data", "rows": "records lines", "compute": "evaluate determine",
    "calculate": "evaluate determine", "all": "every all", "key": "key entry", "date": "day date", "set": "group set",
    "select": "choose take", "multiply": "scale times", "separator": "sep splitter", "delimiter": "sep splitter",
    "regex": "pattern re", "object": "thing instance", "format": "layout format", "index": "place offset",
}  # fmt: skip

FRAMES = ["{}", "{}.", "please {}", "need to {}", "write code to {}", "I want to {}", "{}!", "now {}"]
FRAMES += ["python code: {}"]
MARKS = ["`{}`", "`{}`", "`{}`", "{}", "{}", "{}", '"{}"', "<{}>", "*{}*"]

WORD_TEXT = """
account action active actor agent alarm album alert anchor angle answer archive area arrow asset author backup badge
bank bar barrel base basket batch beam bell bill bird blank block board body bonus book boot border bottle bound box
branch brand bread bridge brush bucket budget buffer bug bundle bus button cable cache cake call camera canal candle
card cargo case cell chain chair channel chart chat chip circle claim class clip clock cloud club coach coal coast
code coin comet cookie copy corner course cover crate credit crop crowd crown cube curve cycle daily dealer debt deck
delta depth desk detail device dial digit dish disk dock dome door draft drawer drive drop drum dust duty eagle edge
engine entry epoch error event exam exit extra fabric face factor farm fast fault fee field film final fish flag
flame fleet flight floor flow flower fold font force fork forum fruit fuel full game gate gear ghost giant gift glass
goal gold grade graph grid group guard guest guide habit hall hammer handle harbor hash head heap heat hero hidden
hill hint history hook horse hotel hour house image inbox index inner input island jacket job joint judge jump kernel
kettle kit knob label lake lamp large laser last layer leader leaf left legal lemon lens level lever limit link lock
log logo loop lunch magnet mail main map margin market mask master match meal media member memo menu merge metal meter
model module monitor month moon motor mouse music need nest new night node noise north note novel null ocean offer
office old open option orange orbit order origin outer oven owner pack page paint pair panel paper parcel parent park
part party patch pearl pen phase photo piano pilot pin pipe pixel plan plane plant plate player plot pocket poem poll
pool port post pot power press probe process profile proof pulse pump puzzle query queue quick quiet quota race rack
radio rain range rank rate raw reader record region relay rent report result right ring river road robot rocket role
roof room root rope route rule run safe salt sample sand scale scan scene school screen script sea seat second seed
sensor server shape share shelf shell shift ship shop signal size skill sky slice slot small smoke snow soil song
sound source spare speed spin spoon sport spring stack staff stage stamp star state stem step stock stone store storm
story stream street study style sugar suit sum super switch symbol system tag tail tank target task team temp tent
test theme thread ticket tide tile timer tip tire tool top torch total tower town toy track trade trail train tray
tree trend trial truck tube tune turn type union unit upper valid valve van vector video view village voice volume
vote wagon wall water wave west wheel wide wind window wing winter wire wolf wood word work yard year zebra zone
"""
SYLLABLE_TEXT = """
ba be bo da de di du fa fe fi go gu ha he ka ke ki ko la le li lo ma me mi mo na ne no pa pe po ra re ri
ro sa se si so ta te ti to tu va ve vo xa xi za ze zu qu ny ly ry ck st nd x y z
"""
STDLIB_TEXT = """
argparse ast base64 bisect calendar collections configparser contextlib copy csv dataclasses datetime difflib
fileinput fnmatch fractions functools glob gzip heapq inspect ipaddress json linecache locale mailbox mimetypes
numbers operator os pathlib pickle pprint queue random re reprlib sched shelve shlex shutil smtplib socket
statistics string subprocess tarfile tempfile textwrap threading timeit tokenize trace traceback types urllib uuid
weakref zipfile
"""
WORDS, SYLLABLES, STDLIB = WORD_TEXT.split(), SYLLABLE_TEXT.split(), STDLIB_TEXT.split()
EXTENSIONS = ["txt", "csv", "json", "log", "dat", "py", "md", "html", "xml", "bin", "cfg"]
DATE_PARTS = ["%Y", "%m", "%d", "%H", "%M", "%S", "%y", "%b", "%B", "%j", "%A", "%a", "%p", "%I"]
REGEX_PARTS = [
    r"\d",
    r"\w",
    r"\s",
    "[a-z]",
    "[A-Z]",
    "[0-9]",
    ".",
    r"\b",
    "^",
    "$",
    "+",
    "*",
    "{2}",
    "(",
    ")",
    "a|",
    ":",
]
PREPOSITIONS = ["with", "by", "to", "from", "in", "using", "into", "and", "of", "at"]


@dataclass(frozen=True, slots=True)
class Style:
    """All that the items of one document share."""

    template: tuple[str, str, str]
    wrap: str
    quote: str
    mark: str
    number_mark: str
    literal_mark: str
    frame: str
    house_words: float
    edits: tuple[tuple[str, str], ...]
    """Regex and replacement, tried on the operation's code before its slots are filled."""
    tight_commas: bool


IMPORTED = "os|collections|itertools|random|heapq|copy|functools|json|pickle|math|time|sys|shutil|glob|re"
EDITS = [
    (r"\bnp\.", "numpy."),
    (r"\bpd\.", "pandas."),
    (r"\br\$rx", "$rx"),
    (rf"\b({IMPORTED})\.(?=[a-zA-Z])", ""),
    (r"\bdatetime\.(?=\w)", "datetime.datetime."),
    (r"\btimedelta", "datetime.timedelta"),
    (r"open\(\$f\)", "open($f, 'r')"),
    (r"\$df\[\$c\]", "$df.loc[:, $c]"),
    (r"(?<=\w)=(?=[\w$\[{'-])", " = "),
    (r"\[([^\[\]]* for \w+ in [^\[\]]*)\]$", r"list(\1)"),
]
LOOP_NAMES = ["x", "x", "x", "item", "e", "i", "v"]


def house_style(rng: Random) -> Style:
    edits = tuple(edit for edit in EDITS if rng.random() < 0.5)
    loop = pick(rng, LOOP_NAMES)
    study_template = rng.random() < STUDY_TEMPLATE_SHARE
    return Style(
        template=TEMPLATES[0] if study_template else pick(rng, TEMPLATES[1:]),
        wrap=WRAPS[0] if rng.random() < BARE_SHARE else pick(rng, WRAPS[1:]),
        quote="'" if rng.random() < 0.5 else '"',
        mark=pick(rng, MARKS),
        number_mark=pick(rng, ["`{}`", "{}", "{}"]),
        literal_mark=pick(rng, ["'{}'", "'{}'", '"{}"', "{}", "`{}`"]),
        frame=pick(rng, FRAMES),
        house_words=pick(rng, [1.0, 1.0, 1.0, 0.5, 0.0]),
        edits=(*edits, (r"(?<![$\w])x(?!\w)", loop)),
        tight_commas=rng.random() < 0.4,
    )


def invent(rng: Random) -> str:
    return "".join(pick(rng, SYLLABLES) for _ in range(2 + int(rng.random() * 3)))


def house_name(rng: Random) -> str:
    draw = rng.random()
    if draw < 0.3:
        return pick(rng, WORDS)
    if draw < 0.6:
        return f"{pick(rng, WORDS)}_{pick(rng, WORDS)}"
    if draw < 0.7:
        return pick(rng, WORDS) + pick(rng, WORDS).title()
    if draw < 0.8:
        return pick(rng, WORDS) + str(int(rng.random() * 10))
    if draw < 0.87:
        return pick(rng, "abcdefghijklmnopqrstuvwxyz")
    return invent(rng)


def house_value(kind: str, rng: Random) -> str:
    """Mostly a value that the study's pools do not have; sometimes one of theirs, so that none is a strange word."""
    if kind in ("ty", "sep", "enc") or rng.random() < 0.12:
        return pick(rng, toy.POOLS[kind])
    if kind in toy.PLAIN:
        return str(int(rng.random() ** 2 * 100)) if kind == "n" else pick(rng, toy.POOLS[kind])
    name = house_name(rng)
    if kind == "f":
        return f"{name}.{pick(rng, EXTENSIONS)}"
    if kind == "rx":
        return "".join(pick(rng, REGEX_PARTS) for _ in range(1 + int(rng.random() * 4))) + pick(rng, ["", "", name])
    if kind == "fmt":
        return pick(rng, "-/:. ").join(pick(rng, DATE_PARTS) for _ in range(1 + int(rng.random() * 3)))
    if kind == "url":
        return f"{pick(rng, ['http', 'https'])}://{name}.{pick(rng, ['com', 'org', 'net', 'io'])}/{pick(rng, WORDS)}"
    if kind == "c" and rng.random() < 0.3:
        return name.title()
    return name


def reword(phrasing: str, style: Style, rng: Random) -> str:
    if style.house_words == 0.0:
        return phrasing
    return " ".join(
        pick(rng, LEXICON[word].split()) if word in LEXICON and rng.random() < style.house_words else word
        for word in phrasing.split(" ")
    )


def item(operation: toy.Operation, style: Style, rng: Random, banned: frozenset[str]) -> tuple[str, str] | None:
    """Intent and code in a house style; None where the study's style would make it a test answer."""
    values: dict[str, str] = {}
    nl: dict[str, str] = {}
    code: dict[str, str] = {}
    study: dict[str, str] = {}
    phrasing = pick(rng, operation.phrasings["pretraining"])
    for slot in dict.fromkeys(re.findall(r"\$([a-z]+\d?)", operation.code + phrasing)):
        kind = toy.kind_of(slot)
        value = house_value(kind, rng)
        while value in values.values():
            value = house_value(kind, rng)
        values[slot] = value
        if kind in toy.LITERALS:
            study[slot] = toy.quote(value, kind)
            raw = "r" if kind == "rx" and (r"\br\$rx", "$rx") not in style.edits else ""
            code[slot] = f"{raw}{style.quote}{value}{style.quote}"
            nl[slot] = style.literal_mark.format(value)
        else:
            study[slot] = code[slot] = value
            nl[slot] = (style.number_mark if kind in toy.PLAIN else style.mark).format(value)
    if toy.put(operation.code, study) in banned:
        return None
    text = operation.code.replace("'", style.quote)
    for pattern, replacement in style.edits:
        text = re.sub(pattern, replacement, text)
    if style.tight_commas:
        text = text.replace(", ", ",")
    text = toy.put(text, code)
    if operation.is_expression:
        text = style.wrap.replace("{}", text)
    return style.frame.format(toy.put(reword(phrasing, style, rng), nl)), text


def invented_operation(rng: Random) -> toy.Operation:
    """An operation that does not exist: nothing but the document's other items can tell how to write it."""
    slots = pick(rng, [["$l"], ["$l", "$l2"], ["$l", "$n"], ["$l", "$k"], ["$l", "$l2", "$k"], ["$l", "$n", "$k"]])
    verb = invent(rng) if rng.random() < 0.5 else pick(rng, WORDS)
    phrase = [verb, pick(rng, ["the", "", pick(rng, WORDS)]), slots[0]]
    for slot in slots[1:]:
        phrase += [pick(rng, PREPOSITIONS), pick(rng, ["", pick(rng, WORDS)]), slot]
    function = pick(rng, [invent(rng), verb, f"{verb}_{pick(rng, WORDS)}", pick(rng, WORDS)])
    shapes = [
        f"{function}({', '.join(slots)})",
        f"{slots[0]}.{function}({', '.join(slots[1:])})",
        f"{pick(rng, WORDS)}.{function}({', '.join(slots)})",
        f"{slots[0]}.{function}({pick(rng, WORDS)}={slots[-1]})",
        f"{slots[0]}[{slots[-1]}].{function}()",
        f"[{function}(x) for x in {slots[-1]}]",
        f"{function}({', '.join(slots[::-1])})",
    ]
    return toy.Operation("invented", pick(rng, shapes), True, {"pretraining": [" ".join(filter(None, phrase))]})


def shots(operations: Sequence[toy.Operation], count: int, rng: Random, banned: frozenset[str]) -> list[Segment]:
    style = house_style(rng)
    before, between, after = style.template
    segments: list[Segment] = []
    for _ in range(count):
        made = item(pick(rng, operations), style, rng, banned)
        if made is not None:
            segments += [(f"{before}{made[0]}{between}", INTENT_WEIGHT), (made[1], 1.0), (after, 1.0)]
    return segments[:-1]  # the end-of-sequence token ends the last one


def stdlib_chunks() -> list[str]:
    """Pieces of about 600 characters, cut between lines, of the modules named above."""
    root = Path(sysconfig.get_path("stdlib"))
    chunks = []
    for name in STDLIB:
        path = root / f"{name}.py"
        for source in [path] if path.exists() else sorted((root / name).glob("*.py")):
            chunk = ""
            for line in source.read_text(encoding="utf-8", errors="ignore").splitlines(keepends=True):
                chunk += line
                if len(chunk) > 600:
                    chunks.append(chunk)
                    chunk = ""
    return chunks


def document(kind: str, stdlib: Sequence[str], rng: Random, banned: frozenset[str]) -> list[Segment]:
    operations = toy.operations()
    if kind == "stdlib":
        return [(pick(rng, stdlib), 0.5)]
    if kind == "single":
        return shots(operations, 1, rng, banned)
    count = 4 + int(rng.random() * 9)
    if kind == "narrow_few_shot":
        operations = tuple(pick(rng, operations) for _ in range(1 + int(rng.random() * 3)))
    if kind == "invented":
        operations = tuple(invented_operation(rng) for _ in range(1 + int(rng.random() * 3)))
    return shots(operations, count, rng, banned)


def forbidden() -> list[str]:
    """Every test intent and every test answer's plain code: no document holds one, not even inside a longer text."""
    return [text for row in toy.splits()["test"] for text in (row.nl, row.plain)]


def documents(seed: int, count: int) -> Iterator[list[Segment]]:
    """`count` documents, each a list of segments; the same for the same seed (and Python's standard library)."""
    rng, stdlib = Random(seed), stdlib_chunks()
    strings = forbidden()
    banned = frozenset(strings)
    kinds = [kind for kind, share in KINDS.items() for _ in range(round(share * 100))]
    made = 0
    while made < count:
        segments = document(pick(rng, kinds), stdlib, rng, banned)
        whole = "".join(text for text, _ in segments)
        if whole and not any(string in whole for string in strings):
            made += 1
            yield segments


def fingerprint(corpus: Iterable[Sequence[Segment]]) -> str:
    """Tells whether a corpus made again is the one that the weights saw."""
    digest = hashlib.sha256()
    for segments in corpus:
        digest.update("".join(text for text, _ in segments).encode() + b"\0")
    return digest.hexdigest()


if __name__ == "__main__":
    for number, shown in enumerate(documents(seed=0, count=int(sys.argv[1]))):
        print(f"--- document {number}\n" + "".join(text for text, _ in shown))
