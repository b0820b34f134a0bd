"""Planning is quick: neither torch nor Ray is imported before a trial runs."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import contextlib, io, sys
import raypeft.sweep, raypeft.plan, raypeft.config
from raypeft.sweepfile import find_sweep_file

for sweep in sys.argv[1:]:
    raypeft.plan.plan_trials(raypeft.config.load_config(find_sweep_file(sweep)))
    with contextlib.redirect_stdout(io.StringIO()):
        assert raypeft.sweep.main([sweep, "--dry-run"]) == 0
        assert raypeft.sweep.main([sweep, "--dry-run", "--json"]) == 0
with contextlib.redirect_stdout(io.StringIO()) as help_text, contextlib.suppress(SystemExit):
    raypeft.sweep.main(["--help"])
assert "exit codes" in help_text.getvalue()
print(*sorted({"torch", "transformers", "ray", "peft", "datasets"} & set(sys.modules)))
"""


def test_planning_and_help_import_neither_torch_nor_transformers_nor_ray() -> None:
    sweeps = [str(file) for file in (Path(__file__).parent.parent / "sweeps").glob("*.yaml")]
    assert sweeps
    done = subprocess.run([sys.executable, "-c", PROGRAM, *sweeps], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
