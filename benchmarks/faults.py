"""What faults cost a sweep: each really happens to a running one, and the same command is given until all is done.

    python benchmarks/faults.py --out benchmarks/results/faults.md

Two sweeps of the embedded study are run once without a fault, and then once with each: two LoRA trainings, and trials that
use the shared retriever and the sandboxes. Afterwards every trial must have exactly one row, with the scores of the run
without a fault, and a training that was broken off must go on from the last step that was evaluated before the fault, or
a later one (a checkpoint is written after every step), or from the step before, where the fault came between an evaluation
and its checkpoint. A training was broken off where the run that made its row began after the fault. "Seconds" are those from the fault until the last row is there,
with the start of Ray and of the libraries where the command had to be given again; a row of its own has the time of the
run without a fault. Needs root for the full disk, and Linux.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
from reports import add_out, arguments, head, publish, row

from raypeft.results.leases import running
from raypeft.results.places import sweep_url
from raypeft.results.store import ResultStore
from raypeft.trial.columns import tables

HEAD = "name: small\ndefaults: {model: toy, dataset: toy, limit: 40, max_new_tokens: 8, num_beams: 2, num_return_sequences: 2}\n"
TAIL = "resources: {cpus_per_trial: 1}\nsandbox: {seconds_per_test: 2}\ncheckpoint_minutes: 0\n"
SWEEPS = {
    "training": "grids: [{tuning_method: {name: lora, num_train_epochs: 8, eval_every_epochs: 0.4, seed: [1, 2]}}]\n",
    "services": """grids:
  - tuning_method: {name: rag, num_shots: 2, embedding_model: toy}
  - {dataset: toy_apps, tuning_method: zero_shot, num_beams: 1, num_return_sequences: 1, do_sample: false}
""",
}
SCORES = ("em_at_1", "em_at_2", "test_loss", "best_eval_loss", "avg_tests_passed", "strict_accuracy")
PATIENCE = 900
READ_ONLY = 20
"""Seconds for which nothing can be written."""


@dataclass
class Run:
    """One start of the command."""

    folder: Path
    results: str
    environment: dict = field(default_factory=dict)

    def __post_init__(self):
        words = [sys.executable, "-m", "raypeft.sweep", str(self.folder / "small.yaml"), "--results", self.results]
        self.log = self.folder / "log.txt"
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(words, stdout=stream, stderr=stream, env=os.environ | self.environment)

    def children(self, name):
        """The processes of the command, and of the cluster that it joined, with these words in their command line."""
        every = psutil.process_iter() if self.environment.get("RAY_ADDRESS") else (
            psutil.Process(self.process.pid).children(recursive=True))  # fmt: skip
        found = []
        for each in every:
            try:
                if name in " ".join(each.cmdline()):
                    found.append(each)
            except psutil.Error:
                continue
        return found

    def await_(self, what):
        """Wait until `what()` is true, and return it."""
        until = time.monotonic() + PATIENCE
        while not (found := what()):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, self.log.read_text()[-3000:]
            time.sleep(0.05)
        return found


def rows_of(results):
    return ResultStore(sweep_url(results, "small"), tables()).read_rows()


def steps_of(results):
    """Trial id -> the last step that was evaluated."""
    steps = {}
    for each in ResultStore(sweep_url(results, "small"), tables()).read_rows("evals"):
        steps[each["id"]] = max(each["step"], steps.get(each["id"], 0))
    return steps


def trains(run):
    """Whether some trial has been evaluated twice and none has ended."""
    try:
        steps = steps_of(run.results)
    except OSError:
        return False  # nothing is there yet
    return any(step >= 4 for step in steps.values()) and not rows_of(run.results)


def send(number, run):
    run.process.send_signal(number)


def kill_one(name, run):
    run.await_(lambda: run.children(name))[0].kill()


def farthest_trial(run):
    """The process of the running trial that was evaluated last."""
    steps = steps_of(run.results)
    leases = running(ResultStore(sweep_url(run.results, "small"), tables())).values()
    return psutil.Process(max(leases, key=lambda lease: steps.get(lease.trial, 0)).pid)


def kill_trial(run):
    farthest_trial(run).kill()


def freeze_trial(run):
    """Suspend a trial's process for good: nothing is heard of it."""
    farthest_trial(run).suspend()


def damage(run):
    """Cut a finished row in the middle once the command has ended."""
    run.process.wait(PATIENCE)
    file = next(Path(run.results).glob("small/trials/*.parquet"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_candidates(run):
    run.process.wait(PATIENCE)
    next(Path(run.results).glob("small/candidates/*.parquet")).unlink()


def fill_disk(run):
    """Fill the results' file system, and free it again when the command has ended."""
    ballast = Path(run.results) / "ballast"
    with ballast.open("wb") as stream:
        try:
            while True:
                stream.write(bytes(1 << 16))
                stream.flush()
        except OSError:
            pass
    run.process.wait(PATIENCE)
    ballast.unlink()


def forbid_writing(run):
    """Make the results' file system read-only for some time."""
    remount = ["mount", "-o", "remount,ro", run.results]
    run.await_(lambda: subprocess.run(remount, stderr=subprocess.DEVNULL).returncode == 0)  # no file may be open
    time.sleep(READ_ONLY)
    subprocess.run(["mount", "-o", "remount,rw", run.results], check=True)


def second_command(run):
    """Give the same command a second time while it runs."""
    Run(run.folder, run.results, run.environment).process.wait(PATIENCE)


class Door:
    """A port that passes connections on to another, and can be shut."""

    def __init__(self, port):
        self.target, self.open = port, True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            here, _ = self.listener.accept()
            if not self.open:
                here.close()
                continue
            there = socket.create_connection(("127.0.0.1", self.target))
            self.pairs += [here, there]
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            each.close()

    def shut(self, seconds):
        self.open = False
        for each in self.pairs:
            each.close()
        time.sleep(seconds)
        self.open = True


@contextmanager
def on_disk(folder):
    """Results in a plain folder: the URL, the command's environment, and what only this place can suffer."""
    yield str(folder / "results"), {}, None


@contextmanager
def on_small_disk(suffers, folder):
    """Results on a file system of their own, which suffers something."""
    results = folder / "results"
    results.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", results], check=True)
    try:
        yield str(results), {}, suffers
    finally:
        subprocess.run(["umount", results], check=True)


@contextmanager
def on_object_store(folder):
    """Results on an S3 server behind a door."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    door = Door(server.get_host_and_port()[1])
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
    os.environ.update(keys)
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{door.port}/faults", method="PUT")).close()
    url = f"s3://faults/results?scheme=http&endpoint_override=127.0.0.1:{door.port}"
    yield url, keys, lambda run: door.shut(15)
    server.stop()


@contextmanager
def on_cluster(folder):
    """A cluster of two nodes, of which one can be lost; another joins then."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = made.add_node(num_cpus=1)

    def lose(run):
        made.remove_node(second)
        made.add_node(num_cpus=1)

    try:
        yield str(folder / "results"), {"RAY_ADDRESS": made.address}, lose
    finally:
        made.shutdown()


@dataclass(frozen=True)
class Fault:
    """Something that happens to a running sweep."""

    name: str
    sweep: str = "training"
    act: Callable | None = None
    """What is done to the command; None: what the place suffers."""
    begins: Callable | None = trains
    """When."""
    place: Callable = on_disk
    breaks: bool = False
    """Whether a training must have been broken off."""


FAULTS = [
    Fault("Ctrl-C", act=partial(send, signal.SIGINT), breaks=True),
    Fault("SIGTERM", act=partial(send, signal.SIGTERM), breaks=True),
    Fault("SIGHUP (the terminal closes)", act=partial(send, signal.SIGHUP), breaks=True),
    Fault("SIGUSR1 (SLURM's notice)", act=partial(send, signal.SIGUSR1), breaks=True),
    Fault("kill -9 of the command", act=partial(send, signal.SIGKILL), breaks=True),
    Fault("kill -9 of a trial's process", act=kill_trial, breaks=True),
    Fault("a trial's process hangs", act=freeze_trial, breaks=True),
    Fault("kill -9 of the raylet", act=partial(kill_one, "raylet/raylet"), breaks=True),
    Fault("kill -9 of the GCS", act=partial(kill_one, "gcs_server"), breaks=True),
    Fault("kill -9 of the retriever", "services", partial(kill_one, "SharedRetriever"), None),
    Fault("kill -9 of the pool of sandboxes", "services", partial(kill_one, "SharedSandboxes"), None),
    Fault("kill -9 of a sandbox", "services", partial(kill_one, "SandboxWorker"), None),
    Fault("the disk is full", place=partial(on_small_disk, fill_disk), breaks=True),
    Fault("the results are read-only for 20 s", place=partial(on_small_disk, forbid_writing)),
    Fault("a row is damaged", "services", damage, None),
    Fault("candidates are deleted", "services", lose_candidates, None),
    Fault("a second command on the same folder", act=second_command),
    Fault("the object store refuses for 15 s", place=on_object_store),
    Fault("a node is lost", place=on_cluster, breaks=True),
]


def suffer(fault, folder):
    """Let a fault happen; returns the seconds, the starts of the command, what was broken off, and the rows."""
    stall = "stall_minutes: 1\n" if fault.act is freeze_trial else ""
    (folder / "small.yaml").write_text(HEAD + SWEEPS[fault.sweep] + TAIL + stall)
    with fault.place(folder) as (results, environment, of_place):
        run = Run(folder, results, environment)
        if fault.begins:
            run.await_(partial(fault.begins, run))
        known = steps_of(results) if fault.begins else {}
        at = datetime.now(UTC)
        started, starts = time.monotonic(), 1
        for act in filter(None, (fault.act, of_place)):
            act(run)
        while run.process.wait(PATIENCE) != 0 and starts < 4:
            run, starts = Run(folder, results, environment), starts + 1
        if fault.act in (damage, lose_candidates):  # the first start ended well
            run, starts = Run(folder, results, environment), starts + 1
            run.process.wait(PATIENCE)
        found = rows_of(results)
        broken = {each["id"]: known[each["id"]] for each in found if each["id"] in known and each["started_at"] > at}
        return time.monotonic() - started, starts, broken, found


def verdict(found, expected, broken, breaks):
    """What became of the rows: lost, doubled, other scores, steps that were trained twice.

    `broken` are the trainings that were broken off and their steps then; `breaks`: there must be some.
    """
    ids = [each["id"] for each in found]
    told = []
    if lost := expected.keys() - set(ids):
        told.append(f"{len(lost)} lost")
    if len(ids) > len(set(ids)):
        told.append(f"{len(ids) - len(set(ids))} doubled")
    if wrong := [each for each in found if each["status"] != "ok"]:
        told.append(f"{len(wrong)} {wrong[0]['status']}")
    other = [each for each in found if any(each.get(name) != expected[each["id"]].get(name) for name in SCORES)]
    if other:
        told.append(f"{len(other)} with other scores")
    if again := [each for each in found if (each.get("resumed_from_step") or 0) < broken.get(each["id"], 0) - 1]:
        told.append(f"{len(again)} trained again more than one step")
    if breaks and not broken:
        told.append("no training was broken off")
    return "; ".join(told) or "none lost, none doubled, same scores"


def main():
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults whose names have one of these words")
    add_out(parser)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):  # `nohup` and `&` let a process and its children ignore them
        signal.signal(number, signal.SIG_DFL)
    lines = [
        *head(
            "fault", "> starts of the command", "> seconds", "> went on from step (known before)", "> attempts", "rows"
        )
    ]
    chosen = [fault for fault in FAULTS if not options.only or any(word in fault.name for word in options.only)]
    expected = {}
    with tempfile.TemporaryDirectory(prefix="faults") as temporary:
        for sweep in dict.fromkeys(fault.sweep for fault in chosen):
            folder = Path(temporary) / sweep
            folder.mkdir()
            seconds, starts, _, found = suffer(Fault("", sweep, begins=None), folder)
            expected[sweep] = {each["id"]: each for each in found}
            assert all(each["status"] == "ok" for each in found), found
            lines.append(row(f"none ({sweep}: {len(found)} trials)", starts, f"{seconds:.0f}", "", "", ""))
            print(lines[-1], flush=True)
        for place, fault in enumerate(chosen):
            folder = Path(temporary) / str(place)
            folder.mkdir()
            try:
                seconds, starts, broken, found = suffer(fault, folder)
            except Exception as error:  # one fault's failure must not hide the others
                lines.append(
                    row(
                        fault.name, "", "", "", "", f"could not be measured: {type(error).__name__}: {str(error)[:300]}"
                    )
                )
            else:
                steps = [f"{each.get('resumed_from_step')} ({broken[each['id']]})" for each in found
                         if each["id"] in broken]  # fmt: skip
                attempts = [str(each["attempts"]) for each in found]
                told = verdict(found, expected[fault.sweep], broken, fault.breaks)
                lines.append(row(fault.name, starts, f"{seconds:.0f}", ", ".join(steps), ", ".join(attempts), told))
            print(lines[-1], flush=True)
    publish(lines, options.out)


if __name__ == "__main__":
    main()
