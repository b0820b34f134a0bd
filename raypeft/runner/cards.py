"""The cluster's GPUs: their sizes, and a trial's share of one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress

import ray

from raypeft.gpu import GIB
from raypeft.study.config import Resources

SMALLER = 0.9
"""A card that is sold with the budget's memory has a little less: 23.65 GiB of 24."""
PATIENCE = 60.0
"""Seconds in which a node must tell its cards. One that does not is left out."""


def trial_resources(resources: Resources) -> dict[str, float]:
    """What a Tune trial asks Ray for: a share of a GPU, or CPU cores where the cluster has no GPU."""
    available = ray.cluster_resources()
    cpus = available.get("CPU", 1)
    if not available.get("GPU"):
        return {"cpu": min(resources.cpus_per_trial, cpus)}
    return {"cpu": 1, "gpu": gpu_share(resources.gpu_memory_gb, card_sizes())}


def gpu_share(budget_gb: float, cards_gb: Sequence[float]) -> float:
    """The share of one GPU that a budget in GiB asks for, given the sizes of the cluster's cards in GiB.

    Ray may place a trial on any card, so the smallest one decides: on 80 GB cards alone, 24 GB ask for 0.3 of a card,
    and three trials share it; beside a card of 24 GB or less, a trial takes a whole card. Without sizes it does too.
    """
    smallest = min(cards_gb, default=0.0)
    # A thousandth is rounded up, Ray's grain being a ten-thousandth: a share must never exceed what the card can hold.
    return min(1.0, -(-1000 * budget_gb // smallest) / 1000) if smallest else 1.0


def card_notes(budget_gb: float) -> Iterator[str]:
    """What a user should know of the cluster's cards before trials run on them."""
    if not ray.cluster_resources().get("GPU"):
        if nvidia_smi():
            yield ("Ray offers no GPU though this machine has one, so trials run on the CPU (start Ray with "
                   "--num-gpus, or see `raypeft doctor`)")  # fmt: skip
        return
    small = sorted({round(size, 1) for size in card_sizes() if size < SMALLER * budget_gb})
    if small:
        yield (f"some GPUs have {', '.join(f'{size:g}' for size in small)} GiB, less than the {budget_gb:g} GiB of a "
               f"trial: trials that Ray places there have that much (start Ray with --num-gpus 0 on such nodes to "
               f"leave them out)")  # fmt: skip


def card_sizes() -> tuple[float, ...]:
    """Memory of every card of every GPU node, in GiB, asked of the nodes themselves. It takes none of their resources,
    so that nodes answer while all their cards are in use."""
    size = ray.remote(num_cpus=0)(nvidia_smi)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    affinity = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = [size.options(scheduling_strategy=affinity(node["NodeID"], soft=False)).remote() for node in nodes]
    answered, _ = ray.wait(asked, num_returns=len(asked), timeout=PATIENCE) if asked else ([], [])
    found: list[float] = []
    for each in answered:
        with suppress(ray.exceptions.RayError):  # a node that ends just now
            found += ray.get(each)
    return tuple(found)


def nvidia_smi() -> list[float]:
    """Memory of each card of this machine, in GiB, as the driver tells it. Empty without a driver."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [float(line) * 2**20 / GIB for line in told.splitlines() if line.strip().replace(".", "").isdigit()]
