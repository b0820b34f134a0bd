"""Ray: joining it or starting it."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_ray_address_file

from raypeft.mistakes import page
from raypeft.runner.code import PACKAGE
from raypeft.runner.limits import START_VARIABLE, start_seconds, time_limit
from raypeft.runner.pulse import Pulse
from raypeft.study.sweepfile import ConfigError
from raypeft.trial.provenance import git_variables


@dataclass(frozen=True, slots=True)
class Session:
    """A Ray that is there."""

    is_ours: bool
    """Whether it was started here."""
    pulse: Pulse


@contextmanager
def ray_session(
    say: Callable[[str], None],
    verbose: bool = False,
    share: Callable[[], AbstractContextManager[dict[str, int]]] | None = None,
) -> Iterator[Session]:
    """Join the cluster that RAY_ADDRESS names or that runs here; else start Ray on this machine, and stop it after.

    To a cluster raypeft's code travels, so that all nodes run the same. `say` hears when Ray does not answer. `share`
    says how many cores and cards a Ray has that is started here for want of a cluster.
    Raises ConfigError where the cluster does not answer, and where Ray cannot be started here; within the block,
    RayLost where Ray fails since it is lost.
    """
    level = logging.INFO if verbose else logging.ERROR
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(level)
    ours = not ray.is_initialized()
    with share() if share and ours and names_no_cluster() else nullcontext({}) as options:
        if ours:
            start_ray(verbose, level, options)
        with Pulse(say) as pulse:
            try:
                yield Session(bool(ours and pulse.node is not None and pulse.node.head), pulse)
            except Exception:
                pulse.check()  # calls to a Ray that is lost fail in many ways
                raise
            finally:
                pulse.ask_no_more()
                if ours:
                    ray.shutdown()


def start_ray(verbose: bool, level: int, options: Mapping[str, int]) -> None:
    """Join or start Ray within `start_seconds`, with `options` in any case a new one.

    Raises ConfigError that says what to do where it cannot be done.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        seconds = start_seconds()
        here = "local" if options else place_to_join(address)
        message = f"Ray must be there within {seconds:g} s but was not: {advice(address, here)}"
        with time_limit(seconds, message):
            ray.init(
                address=here,
                log_to_driver=verbose,
                logging_level=level,
                include_dashboard=False,
                configure_logging=verbose,
                runtime_env=travelling_code() if is_joined(address, here) else None,
                **options,
            )
    except ClusterGone as error:
        raise ConfigError("RAY_ADDRESS", [str(error)]) from None
    except Exception as error:  # Ray has many ways to fail, some without a class of their own
        if address and may_ask_for_a_token(error):
            raise ConfigError("RAY_ADDRESS", [token_advice(address)]) from None
        told = str(error).strip().splitlines() or [type(error).__name__]
        if "AF_UNIX path length" in told[0]:
            raise ConfigError("RAY_TMPDIR", [f"must be a short path for Ray's sockets, such as /tmp, but Ray would "
                                             f"take {Path(address_file()).parent} (from TMPDIR): {told[0]}; "
                                             f"export RAY_TMPDIR=/tmp"]) from None  # fmt: skip
        raise ConfigError("Ray", [f"must start but did not ({type(error).__name__}: {told[0][:300]})"]) from None


class ClusterGone(Exception):
    """A cluster that should be joined does not answer."""


def place_to_join(address: str) -> str | None:
    """What `ray.init` is to be told: `local`, or None for what it finds itself. Raises ClusterGone."""
    note = address_file()
    if address == "local":
        return "local"
    if address.startswith("ray://"):
        raise ClusterGone(f"must be auto or HOST:PORT but got {address}: through Ray Client, Ray Tune would run in a "
                          f"process of the cluster, where this command can neither show nor end its trials. Run the "
                          f"command on a node of the cluster, or send it there with `ray job submit` "
                          f"({page('cluster.md')})")  # fmt: skip
    try:
        check_cluster_answers(address)
    except OSError as error:
        raise ClusterGone(f"must name a Ray cluster that answers but got {address} ({error})") from None
    # Ray would try for minutes to join a cluster that died without a farewell.
    if not left_by_a_dead_cluster(note):
        return None
    if address == "auto":
        raise ClusterGone(f"must name a Ray cluster that answers but got auto, and the cluster that {note} names "
                          f"({note.read_text().strip()}) does not; start one (`ray start --head`), or unset "
                          f"RAY_ADDRESS")  # fmt: skip
    return None if address else "local"


def names_no_cluster() -> bool:
    """Whether neither RAY_ADDRESS nor the note of a living cluster says which Ray to use."""
    note = address_file()
    return not os.environ.get("RAY_ADDRESS") and (not note.exists() or left_by_a_dead_cluster(note))


def is_joined(address: str, here: str | None) -> bool:
    """Whether `ray.init` will join a cluster, as `place_to_join` has it, and start none."""
    return here is None and (bool(address) or address_file().exists())


def travelling_code() -> dict[str, Any]:
    """The runtime environment by which the workers of a cluster run this command's raypeft, whatever is installed."""
    return {"py_modules": [str(PACKAGE)], "env_vars": git_variables()}


def token_advice(address: str) -> str:
    """What to do where a cluster answers and nothing else is known."""
    return (f"must name a Ray cluster that lets this command in but {address} answers and does not. It may ask for a "
            f"token: export RAY_AUTH_MODE=token on a machine that has the cluster's ~/.ray/auth_token "
            f"({page('cluster.md')})")  # fmt: skip


def may_ask_for_a_token(error: Exception) -> bool:
    """Whether a cluster that answers may have refused this command for want of a token.

    Ray sends none to an address that is given, and its error does not say that the token is what was missing.
    """
    is_refused = isinstance(error, ConnectionError) and "Failed to connect to Ray cluster" in str(error)
    return is_refused and "RAY_AUTH_MODE" not in os.environ


def advice(address: str, here: str | None) -> str:
    """What may keep Ray from being there, and what to do."""
    if address:
        return f"RAY_ADDRESS is {address}; see `ray status`"
    note = address_file()
    if here is None and note.exists():
        return f"{note} names {note.read_text().strip()}, which answers but not as a Ray cluster; remove that file"
    return (f"is the loopback network up, and the machine not overloaded? {START_VARIABLE}=300 waits longer; Ray's "
            f"logs are in {note.parent}/session_latest/logs")  # fmt: skip


def address_file() -> Path:
    """The file in which Ray notes the cluster of this machine (in RAY_TMPDIR, TMPDIR or /tmp)."""
    return Path(get_ray_address_file(None))


def check_cluster_answers(address: str) -> None:
    """Raise OSError (from socket) where nothing listens at a `host:port`; Ray itself would go on trying for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in host and port.isdigit():  # not `auto`, `local` or a ray:// address
        socket.create_connection((host, int(port)), timeout=10).close()


def left_by_a_dead_cluster(file: Path) -> bool:
    """Whether `file`, in which Ray notes the cluster of this machine, names one that does not answer."""
    try:
        check_cluster_answers(file.read_text())
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
