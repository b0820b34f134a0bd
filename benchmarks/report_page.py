"""How long the report of many trials takes, in the terminal and as a page, and how large the page is.

    python benchmarks/report_page.py --out benchmarks/results/reports.md

The folder is that of many_trials.py, with answers and scores of single examples. Each command is a process of its own,
imports included. The alternative is Parquet to HTML by pandas (`DataFrame.to_html`): one table, nothing else. Bounds for
5,000 trials: 3 s in the terminal; 20 s and 20 MB for the page.
"""

import os
import sys
import tempfile
from pathlib import Path

from many_trials import in_a_process, make_folder, part_of
from reports import add_numbers, add_out, arguments, command, flags, head, publish, row

BY_PANDAS = """
import sys, pandas
from pathlib import Path
rows = pandas.concat([pandas.read_parquet(path) for path in sorted(Path(sys.argv[1], "trials").glob("*.parquet"))])
Path(sys.argv[1], "pandas.html").write_text(rows.to_html())
"""
SIZES = (500, 5_000)


def measure(results, scratch):
    """Figures by what was done."""
    script = Path(scratch) / "by_pandas.py"
    script.write_text(BY_PANDAS)
    found = {"terminal, first, s": in_a_process("raypeft", "report", results, "--no-html")}
    found["terminal, then, s"] = in_a_process("raypeft", "report", results, "--no-html")
    found["page, s"] = in_a_process("raypeft", "report", results)
    found["page, MB"] = (Path(results) / "report.html").stat().st_size / 1e6
    sys.path.insert(0, scratch)
    os.environ["PYTHONPATH"] = os.pathsep.join([scratch, os.environ.get("PYTHONPATH", "")])
    found["pandas' HTML, s"] = in_a_process("by_pandas", results)
    found["pandas' HTML, MB"] = (Path(results) / "pandas.html").stat().st_size / 1e6
    return found


def main():
    parser = arguments(__doc__)
    add_numbers(parser, most=SIZES[-1])
    add_out(parser)
    options = parser.parse_args()
    sizes = [size for size in SIZES if size <= options.most]
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        print(f"{make_folder(str(whole), sizes[-1]):.4f} s to write a trial", file=sys.stderr)
        for size in sizes:
            folder = Path(scratch) / str(size)
            folder.mkdir()
            part_of(str(folder), whole / "many", size)
            found[size] = measure(f"{folder}/many", scratch)
            print(size, found[size], file=sys.stderr)
    load = os.getloadavg()[1]
    lines = [
        "# The report of many trials",
        "",
        f"{command('report_page', flags(options, 'most'))} on {os.cpu_count()} cores, mean load {load:.0f}.",
        "",
        *head("finished trials", *(f"> {size:,}" for size in sizes)),
        *(row(what, *(f"{found[size][what]:.1f}" for size in sizes)) for what in found[sizes[0]]),
    ]
    publish(lines, options.out)


if __name__ == "__main__":
    main()
