"""A sandbox in a process of its own, which runs what it is told on standard input: one JSON object a line each way.

python tests/sandbox/worker.py '{"tier": "B", "limits": {"seconds_per_test": 0.5}, "threads": 3}'
"""

import base64
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from raypeft.sandbox import Limits, Sandbox, SandboxUnavailable


def main() -> None:
    sys.set_int_max_str_digits(0)
    config = json.loads(sys.argv[1])
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            print(json.dumps(message), flush=True)

    def run(job: dict[str, Any]) -> None:
        program = base64.b64decode(job["bytes"]) if "bytes" in job else job["program"]
        try:
            result = sandbox.run(program, job["tests"], job.get("stop"))
            say({"id": job["id"], "tests": [asdict(test) for test in result.tests]})
        except Exception as error:
            say({"id": job["id"], "raised": repr(error)})

    try:
        sandbox = Sandbox(Limits(**config["limits"]), tier=config["tier"])
    except SandboxUnavailable as error:
        say({"unavailable": str(error)})
        return
    with sandbox, ThreadPoolExecutor(config["threads"]) as pool:
        say({"isolation": sandbox.isolation})
        for line in sys.stdin:
            pool.submit(run, json.loads(line))


if __name__ == "__main__":
    main()
