"""Which zygote a program goes to."""

import pytest

from raypeft.sandbox.modules import COMMON, RARE, needs_full


@pytest.mark.parametrize(
    "program",
    ["import numpy as np", "from numpy import *", "x = np.zeros(3)", "import math, hashlib", "try: import mypc",
     "import os\nimport statistics", "a = 1; import zlib", "__import__('numpy')", "import numpy.linalg as l",
     "import sys ,numpy", "if 1:\n\tfrom scipy import sparse"],
)  # fmt: skip
def test_a_program_that_imports_something_rare_goes_to_the_larger_zygote(program: str) -> None:
    assert needs_full(program)


@pytest.mark.parametrize(
    "program",
    ["print(1)", "import sys", "from collections import deque, Counter", "import os, sys, math",
     "n, p = 1, 2\nnp = n * p",
     "import collections.abc", "from heapq import *\nfrom math import gcd", "from itertools import numpy_like"],
)  # fmt: skip
def test_a_program_that_imports_what_all_import_goes_to_the_smaller_zygote(program: str) -> None:
    assert not needs_full(program)


def test_the_two_lists_of_modules_are_disjoint() -> None:
    assert not set(COMMON) & set(RARE)
