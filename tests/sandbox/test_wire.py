"""The records between supervisor and zygote lie where the zygote's writes to them cost no process a page."""

import subprocess
import sys
from pathlib import Path

from raypeft.sandbox import wire

PROGRAM = """
import sys, types
for name, path in (("raypeft", []), ("raypeft.sandbox", [sys.argv[1]])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = path
from raypeft.sandbox import zygote
print("raypeft.sandbox.wire" in sys.modules)
from raypeft.sandbox import forking
print("raypeft.sandbox.wire" in sys.modules)
"""


def test_the_zygote_loads_the_records_with_what_forks_and_not_before() -> None:
    folder = str(Path(wire.__file__).parent)
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True"], done.stderr
