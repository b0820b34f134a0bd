# ruff: noqa: SIM905 - lists of names are read as text
"""Which modules are loaded before a program comes, and which programs need the larger of the two zygotes.

needs_full("import hashlib")      # True
"""

from __future__ import annotations

import re

COMMON = """
    __future__ _collections_abc abc array ast atexit bisect collections collections.abc contextlib copy copyreg ctypes
    datetime decimal encodings.ascii encodings.latin_1 enum errno fileinput fractions functools gc heapq io itertools
    json keyword math numbers operator os queue random re reprlib resource select signal _sitebuiltins socket string
    struct sys textwrap threading time traceback types typing warnings weakref
""".split()
"""What most real solutions import, and what those modules import late: loading it later would cost each program."""

RARE = """
    argparse base64 binascii calendar cmath codecs colorsys concurrent.futures.thread contextvars crypt csv curses
    dataclasses difflib dis encodings.cp1252 encodings.idna encodings.utf_16 encodings.utf_8_sig getpass glob
    graphlib hashlib hmac inspect linecache locale logging opcode pathlib pickle platform pprint readline secrets
    selectors shlex shutil site sqlite3 ssl stat statistics subprocess sysconfig tempfile timeit token tokenize
    unicodedata unittest uuid zlib zoneinfo
""".split()
"""Loaded in the larger zygote only, since every module makes every fork dearer. Loaded by a program, some of them
would look for libraries of the system, which no program may open."""

NUMPY = "numpy numpy.linalg numpy.fft numpy.random numpy.polynomial numpy.ma numpy.lib.stride_tricks".split()

_IMPORTS = re.compile(
    r"\bfrom[ \t]++(\w++)[\w.]*+[ \t]++import\b"
    r"|\bimport[ \t]++([\w.]++(?:[ \t]*+,[ \t]*+[\w.]++)*+)"
    r"|(\bnp[ \t]*+\.|__import__|import_module)"
)
_SMALL = {name.split(".")[0] for name in COMMON} | {"builtins", "_thread"}


def needs_full(program: str) -> bool:
    """Whether a program seems to import what the smaller zygote has not loaded, numpy above all. Takes linear time."""
    for match in _IMPORTS.finditer(program):
        if match[3]:
            return True
        names = [match[1]] if match[1] else [name.split(".")[0].strip() for name in match[2].split(",")]
        if not _SMALL.issuperset(names):
            return True
    return False
