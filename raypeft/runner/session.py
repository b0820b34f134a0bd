"""Ray: joining or starting it, and a trial's share of a GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from raypeft.machine import GIB
from raypeft.study.config import Resources
from raypeft.study.sweepfile import ConfigError

CURRENT_CLUSTER = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # noqa: S108 - Ray's own


@contextmanager
def ray_session(verbose: bool = False) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names or that runs here; else start Ray on this machine, and stop it after.

    Raises ConfigError where RAY_ADDRESS names a cluster that does not answer.
    """
    level = logging.INFO if verbose else logging.ERROR
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(level)
    ours = not ray.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS", "")
        try:
            check_cluster_answers(address)
            # Ray would try for minutes to join a cluster that died without a farewell.
            here = "local" if not address and left_by_a_dead_cluster(CURRENT_CLUSTER) else None
            ray.init(
                address=here,
                log_to_driver=verbose,
                logging_level=level,
                include_dashboard=False,
                configure_logging=verbose,
            )
        except (ConnectionError, TimeoutError, socket.gaierror) as error:
            told = f"must name a Ray cluster that answers but got {address} ({error})"
            raise ConfigError("RAY_ADDRESS", [told]) from None
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


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


def trial_resources(resources: Resources) -> dict[str, float]:
    """What a Tune trial asks Ray for: a share of a GPU, or CPU cores where the cluster has no GPU.

    The share is min(1, budget / smallest eligible card); a card is eligible if it has the budget, and where none has
    it, the smallest counts. On an 80 GB card, 24 GB ask for 0.3 of it, so three trials share it.
    """
    available = ray.cluster_resources()
    cpus = available.get("CPU", 1)
    if not available.get("GPU"):
        return {"cpu": min(resources.cpus_per_trial, cpus)}
    return {"cpu": 1, "gpu": gpu_share(resources.gpu_memory_gb, card_sizes())}


def gpu_share(budget_gb: float, cards_gb: Sequence[float]) -> float:
    """The share of one GPU that a budget in GiB asks for, given the sizes of the cluster's cards in GiB."""
    eligible = [size for size in cards_gb if size >= budget_gb] or list(cards_gb)
    # Rounded up to a thousandth, Ray's grain being a ten-thousandth: a share must never exceed what the card can hold.
    return min(1.0, -(-1000 * budget_gb // min(eligible)) / 1000)


def card_sizes() -> list[float]:
    """Memory of one card of each GPU node, in GiB, asked of the nodes themselves."""

    @ray.remote(num_cpus=0, num_gpus=0.001)
    def size() -> float:
        import torch

        return torch.cuda.get_device_properties(0).total_memory / GIB

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    asked = [
        size.options(
            scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                node["NodeID"], soft=False
            )
        ).remote()
        for node in nodes
    ]
    return ray.get(asked)
