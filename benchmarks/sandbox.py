"""(program, test) pairs judged a second: the sandbox against a fresh interpreter for every program, and the floor.

    python benchmarks/sandbox.py --rounds 5 --tier B
    RAYPEFT_REAL_DATA=folder python benchmarks/sandbox.py     # also the programs of folder/apps/problems.jsonl
    python benchmarks/sandbox.py --pools                      # the queue of a trial: in its own process, and on Ray

- sandbox: `Sandbox.run`, full isolation of the tier, with one and two threads that call it;
- fresh process: `python -I` for every program, under the same resource limits and with the same code around the
  program, which reads all its tests from a pipe; no filter, no Landlock, no namespaces. Trusted programs only;
- floor: compile and exec in this process, without isolation. Trusted programs only.

The trusted programs are the ones below. Real programs are only ever run in the sandbox. The ways take turns, round by
round; the table shows each way's fastest round. CPU is that of the supervisor, the zygotes and every program.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import arguments, head, row

from raypeft.sandbox import Limits, Sandbox
from raypeft.sandbox.judge import judge_output

Job = tuple[str, dict[str, Any]]

TRUSTED: list[tuple[str, list[tuple[str, str]]]] = [
    ("a, b = map(int, input().split())\nprint(a + b)", [("1 2", "3"), ("10 -4", "6")]),
    (
        "import sys\ndef main():\n    data = sys.stdin.read().split()\n    n = int(data[0])\n    values = sorted(map(int, data[1:n + 1]))\n"
        "    best = 0\n    for i in range(1, n):\n        best = max(best, values[i] - values[i - 1])\n    print(best)\nmain()",
        [("5\n9 1 4 2 30", "21"), ("3\n1 2 3", "1")],
    ),
    (
        "from collections import deque\nn, m = map(int, input().split())\ngraph = [[] for _ in range(n)]\nfor _ in range(m):\n"
        "    a, b = map(int, input().split())\n    graph[a - 1].append(b - 1)\n    graph[b - 1].append(a - 1)\n"
        "distance = [-1] * n\ndistance[0] = 0\nqueue = deque([0])\nwhile queue:\n    node = queue.popleft()\n    for other in graph[node]:\n"
        "        if distance[other] < 0:\n            distance[other] = distance[node] + 1\n            queue.append(other)\nprint(*distance)",
        [("4 3\n1 2\n2 3\n3 4", "0 1 2 3"), ("3 1\n1 2", "0 1 -1")],
    ),
    (
        "import math\nimport itertools\nfor _ in range(int(input())):\n    n = int(input())\n"
        "    print(math.factorial(n) % 1000000007, len(list(itertools.permutations(range(n % 6)))))",
        [("2\n5\n7", "120 120\n5040 1"), ("1\n20", "146326063 2")],
    ),
    (
        "s = input()\nt = s[::-1]\nn = len(s)\ntable = [[0] * (n + 1) for _ in range(n + 1)]\nfor i in range(n):\n    for j in range(n):\n"
        "        table[i + 1][j + 1] = table[i][j] + 1 if s[i] == t[j] else max(table[i][j + 1], table[i + 1][j])\nprint(table[n][n])",
        [("character", "5"), ("abcda" * 6, "18")],
    ),
    (
        "import heapq\nimport sys\ninput = sys.stdin.readline\nn, k = map(int, input().split())\nheap = []\nfor value in map(int, input().split()):\n"
        "    heapq.heappush(heap, -value)\ntotal = 0\nfor _ in range(k):\n    top = -heapq.heappop(heap)\n    total += top\n"
        "    heapq.heappush(heap, -(top // 2))\nprint(total)",
        [("3 4\n10 7 4", "26"), ("1 3\n8", "14")],
    ),
]
FRESH = """
import resource, sys
for which, value in ((resource.RLIMIT_AS, %d << 20), (resource.RLIMIT_CPU, 12), (resource.RLIMIT_FSIZE, 1 << 24),
                     (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
    resource.setrlimit(which, (value, value))
import io, json
job = json.load(sys.stdin)
code = compile(job["program"], "program.py", "exec")
printed = []
for text in job["inputs"]:
    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
    exec(code, {"__name__": "__main__"})
    printed.append(sys.stdout.getvalue())
json.dump(printed, sys.__stdout__)
"""


@dataclass
class Timing:
    """One way's fastest round on one set: seconds on the wall, and CPU seconds of all processes."""

    wall: float = float("inf")
    cpu: float = float("inf")


def trusted_jobs(copies: int) -> list[Job]:
    jobs = [
        (program, {"inputs": [given for given, _ in pairs], "outputs": [wanted for _, wanted in pairs]})
        for program, pairs in TRUSTED
    ]
    return jobs * copies


def real_jobs() -> list[Job]:
    path = Path(os.environ.get("RAYPEFT_REAL_DATA", "/nowhere")) / "apps" / "problems.jsonl"
    if not path.exists():
        return []
    problems = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [
        (program, json.loads(problem["input_output"]))
        for problem in problems
        for program in json.loads(problem["solutions"]) + problem["generated_solutions"]
    ]


def pairs_of(jobs: list[Job]) -> int:
    return sum(len(tests["inputs"]) for _, tests in jobs)


def floor(jobs: list[Job]) -> None:
    """Compiles and runs trusted programs in this very process."""
    kept = sys.stdin, sys.stdout
    for program, tests in jobs:
        code = compile(program, "program.py", "exec")
        for given, wanted in zip(tests["inputs"], tests["outputs"], strict=True):
            sys.stdin, sys.stdout = io.StringIO(given), io.StringIO()
            try:
                exec(code, {"__name__": "__main__"})
                printed = sys.stdout.getvalue()
            finally:
                sys.stdin, sys.stdout = kept
            assert judge_output(printed.encode(), wanted)[0], (program, printed)


def fresh(job: Job) -> None:
    """A new interpreter for one trusted program and all its tests."""
    program, tests = job
    command = [sys.executable, "-I", "-c", FRESH % Limits().memory_mb]
    data = json.dumps({"program": program, "inputs": tests["inputs"]})
    done = subprocess.run(command, input=data, capture_output=True, text=True, check=True)
    for printed, wanted in zip(json.loads(done.stdout), tests["outputs"], strict=True):
        assert judge_output(printed.encode(), wanted)[0], (program, printed)


def cpu_seconds(sandbox: Sandbox) -> float:
    """CPU seconds so far of this process, its ended children, and the zygotes with every program they ran."""
    used = sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    tick = os.sysconf("SC_CLK_TCK")
    pids = [str(zygote.process.pid) for zygote in sandbox.zygotes.values()]
    for pid in pids:  # in tier A the zygote is the child of the process that we started
        children = Path(f"/proc/{pid}/task/{pid}/children")
        pids += children.read_text().split() if sandbox.tier == "A" and children.exists() else []
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += sum(map(int, fields[11:15])) / tick
    return used


def measure(work: Callable[[], object], sandbox: Sandbox, best: Timing) -> None:
    wall, cpu = time.perf_counter(), cpu_seconds(sandbox)
    work()
    best.wall = min(best.wall, time.perf_counter() - wall)
    best.cpu = min(best.cpu, cpu_seconds(sandbox) - cpu)


def over(jobs: list[Job], workers: int, call: Callable[[Job], object]) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(call, jobs):
            pass


def checked(sandbox: Sandbox) -> Callable[[Job], object]:
    def run(job: Job) -> None:
        result = sandbox.run(*job)
        assert result.all_passed, result.tests

    return run


def compare(sandbox: Sandbox, rounds: int) -> list[tuple[str, int, list[Job], Timing]]:
    """The rows of the first table, from ways that take turns."""
    trusted, few, real = trusted_jobs(40), trusted_jobs(4), without_time_limits(sandbox, real_jobs()) * 2
    rows = []
    for workers in (1, 2):
        rows += [
            (f"sandbox, tier {sandbox.tier}", workers, trusted, Timing(), checked(sandbox)),
            ("fresh process", workers, few, Timing(), fresh),
        ]
        if real:
            rows.append(
                (f"sandbox, tier {sandbox.tier}, real programs", workers, real, Timing(), lambda job: sandbox.run(*job))
            )
    bottom = Timing()
    for _ in range(rounds):
        for _, workers, jobs, timing, call in rows:
            measure(lambda jobs=jobs, workers=workers, call=call: over(jobs, workers, call), sandbox, timing)
        measure(lambda: floor(trusted), sandbox, bottom)
    return [(name, workers, jobs, timing) for name, workers, jobs, timing, _ in rows] + [("floor", 1, trusted, bottom)]


def through_pools(rounds: int) -> list[tuple[str, float]]:
    """(way, programs a second) of the queues that trials use, fastest round; each program is one of its own."""
    import ray

    from raypeft.sandbox import SandboxSettings
    from raypeft.services.cluster import ClusterServices
    from raypeft.services.local import LocalServices

    ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    ways = {"one process": LocalServices(), "Ray": ClusterServices()}
    best = dict.fromkeys(ways, 0.0)
    for turn in range(rounds + 1):
        jobs = [(f"{program}\n# {turn} {place}", json.dumps(tests))
                for place, (program, tests) in enumerate(trusted_jobs(80))]  # fmt: skip
        for name, services in ways.items():
            start = time.perf_counter()
            futures = [services.judge(program, tests, SandboxSettings()) for program, tests in jobs]
            assert all(future.result().all_passed for future in futures)
            if turn:  # the first one starts the sandboxes
                best[name] = max(best[name], len(jobs) / (time.perf_counter() - start))
    ray.shutdown()
    return list(best.items())


def without_time_limits(sandbox: Sandbox, jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if all(test.outcome != "time_limit" for test in sandbox.run(*job).tests)]


def with_time_limits(tier: str) -> list[tuple[str, float, int]]:
    """(way, seconds, pairs run) of programs of which one in ten loops for ever on each of its ten tests."""
    right = trusted_jobs(1)[0][0]
    inputs = {"inputs": [f"{n} 1" for n in range(10)], "outputs": [f"{n + 1}" for n in range(10)]}
    jobs = [(right, inputs)] * 18 + [("while True: pass", inputs)] * 2
    found = []
    with Sandbox(Limits(seconds_per_test=0.5), tier=tier) as sandbox:
        for name, stop in (("all tests", None), ("first_fail", "first_fail")):
            start, ran = time.perf_counter(), 0
            with ThreadPoolExecutor(2) as pool:
                for result in pool.map(lambda job, stop=stop: sandbox.run(*job, stop=stop), jobs):
                    ran += sum(test.outcome != "not_run" for test in result.tests)
            found.append((name, time.perf_counter() - start, ran))
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way")
    parser.add_argument("--tier", default="B", help="A, B or C")
    parser.add_argument("--pools", action="store_true", help="compare the queue in one process with the one on Ray")
    options = parser.parse_args()
    if options.pools:
        print(*head("queue", "programs/s"), sep="\n")
        for name, speed in through_pools(options.rounds):
            print(row(name, f"{speed:.0f}"))
        return
    load = os.getloadavg()[0]
    with Sandbox(Limits(), tier=options.tier) as sandbox:
        rows = compare(sandbox, options.rounds)
        isolation = sandbox.isolation
    names = ", ".join(isolation["namespaces"]) or "none"
    print(
        f"Tier {isolation['tier']}: Landlock ABI {isolation['landlock_abi']}, namespaces {names}, uid {isolation['uid']}, "
        f"Python {isolation['python']}, Linux {os.uname().release}, {os.cpu_count()} cores, fastest of {options.rounds} rounds; "
        f"load average of other work before: {load:.1f}.\n"
    )
    speeds = ("programs/s", "pairs/s", "CPU ms a program", "pairs/s against fresh process")
    print(*head("way", "workers", "programs", "pairs", *speeds), sep="\n")
    fresh_speed = {workers: pairs_of(jobs) / t.wall for name, workers, jobs, t in rows if name == "fresh process"}
    for name, workers, jobs, timing in rows:
        pairs, speed = pairs_of(jobs), pairs_of(jobs) / timing.wall
        cpu, ratio = f"{1000 * timing.cpu / len(jobs):.2f}", f"{speed / fresh_speed[workers]:.1f}x"
        print(row(name, workers, len(jobs), pairs, f"{len(jobs) / timing.wall:.0f}", f"{speed:.0f}", cpu, ratio))
    print("\nTwenty programs of ten tests, two of which loop for ever; half a CPU second a test; two workers:\n")
    print(*head("way", "seconds", "pairs run"), sep="\n")
    for name, seconds, ran in with_time_limits(options.tier):
        print(row(name, f"{seconds:.1f}", ran))


if __name__ == "__main__":
    main()
