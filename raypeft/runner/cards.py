"""What a trial asks Ray for: a share of a GPU or CPU cores, on the nodes that take trials."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import ray
from ray import tune

from raypeft.gpu import GIB, SMALLER, ask_driver
from raypeft.runner.share import named_cards
from raypeft.services.cluster import all_but
from raypeft.study.options import Resources
from raypeft.study.sweepfile import ConfigError


@dataclass(frozen=True, slots=True)
class Needs:
    """What a node must have for the trials of a sweep."""

    folder: str
    """Where relative paths begin."""
    paths: Sequence[str]
    """Files and folders that trials read."""
    results: str
    """Folder or URL of the sweep's results."""
    mark: str
    """Name of a file there that this command has just written: another folder of the same path does not have it."""
    code: str = ""
    """The digest of this command's raypeft (`raypeft.runner.code`). Empty: it is not asked."""
    card_gb: float = 0.0
    """Memory that each of its cards must have, in GiB. 0: any will do."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The nodes that take trials."""

    nodes: Sequence[Mapping[str, float]]
    """What each offers, as Ray names it: CPU, GPU and others."""
    cards_gb: Sequence[float] = ()
    """Memory of each of their cards, in GiB, as far as they could tell it."""
    left_out: Sequence[str] = ()
    """Ids of the other nodes."""
    notes: Sequence[str] = ()
    """What a user should know of them."""
    needs: Needs | None = None
    """What each of them has. None: this machine is the only one."""

    @property
    def has_gpu(self) -> bool:
        return any(node.get("GPU") for node in self.nodes)

    def needs_later(self, resources: Resources) -> Needs | None:
        """What a node that joins later must have: cards too that are no smaller than trials count on."""
        if self.needs is None or not self.cards_gb or "GPU" not in trial_request(resources, self):
            return self.needs
        smallest, share = min(self.cards_gb), gpu_share(resources.gpu_memory_gb, self.cards_gb)
        return replace(self.needs, card_gb=SMALLER * min(resources.gpu_memory_gb / share, smallest))

    def room(self, request: Mapping[str, float]) -> int:
        """How many trials of such a request run at once."""
        wanted = {name: need for name, need in request.items() if need}
        return sum(min(int(node.get(name, 0) / need) for name, need in wanted.items()) for node in self.nodes)


def trial_request(resources: Resources, fleet: Fleet, whole_gb: float = 0.0) -> dict[str, float]:
    """What a trial asks Ray for: a share of a GPU, or CPU cores where there is no GPU or none is wanted. `whole_gb` is
    the budget of which the trial's is a part.

    Raises ConfigError where `use_gpu` is true and Ray runs on this machine alone, which offers none.
    """
    if (resources.use_gpu is None and not fleet.has_gpu) or resources.use_gpu is False:
        # More cores than the largest node has would be waited for without end.
        return {"CPU": min(resources.cpus_per_trial, max(node.get("CPU", 1) for node in fleet.nodes))}
    return {"CPU": 1, "GPU": gpu_share(resources.gpu_memory_gb, fleet.cards_gb, whole_gb)}


def placement(request: Mapping[str, float], fleet: Fleet) -> tune.PlacementGroupFactory:
    """The request as Tune has it, for the nodes that take trials."""
    return away_from(fleet.left_out, tune.PlacementGroupFactory([dict(request)]))


def away_from(nodes: Collection[str], request: tune.PlacementGroupFactory) -> tune.PlacementGroupFactory:
    """The same request, of other nodes than these (their ids)."""
    selector = {"bundle_label_selector": [all_but(nodes)]} if nodes else {}
    return tune.PlacementGroupFactory(request.bundles, **selector)


def trial_share() -> float | None:
    """The share of a GPU that Ray has given to the trial of this process. None: it asked for none."""
    group = ray.util.get_current_placement_group()
    share = group.bundle_specs[0].get("GPU") if group else None
    return float(share) if share else None


def gpu_share(budget_gb: float, cards_gb: Sequence[float], whole_gb: float = 0.0) -> float:
    """The share of one GPU that a budget in GiB asks for, given the sizes of the cluster's cards in GiB.

    Ray may place a trial on any card, so the smallest one decides: on 80 GB cards alone, 24 GB ask for 0.3 of a card,
    and three trials share it; beside a card of 24 GB or less, a trial takes a whole card. Without sizes it does too.

    `whole_gb` is the budget of which `budget_gb` is a part: a card that is sold with that much holds all its parts.
    """
    smallest = min(cards_gb, default=0.0)
    if SMALLER * whole_gb <= smallest < whole_gb:
        smallest = whole_gb
    # A thousandth is rounded up, Ray's grain being a ten-thousandth: a share must never exceed what the card can hold.
    return min(1.0, -(-1000 * budget_gb // smallest) / 1000) if smallest else 1.0


def with_small_cards(cards_of: Mapping[str, Sequence[float]], budget_gb: float) -> list[str]:
    """Of the nodes, those with a card that is smaller than the budget, where other nodes have cards that are not.

    So all trials of a sweep have the same budget, and no trial that needs it meets a card that cannot give it.
    """
    small = [name for name, sizes in cards_of.items() if sizes and min(sizes) < SMALLER * budget_gb]
    return small if any(sizes for name, sizes in cards_of.items() if name not in small) else []


def card_notes(resources: Resources, fleet: Fleet) -> Iterator[str]:
    """What a user should know of the cards before trials run on them."""
    if resources.use_gpu is False:
        return
    if not fleet.has_gpu:
        if nvidia_smi():
            yield ("Ray offers no GPU though this machine has one, so trials run on the CPU (start Ray with "
                   "--num-gpus, or see `raypeft doctor`)")  # fmt: skip
        return
    budget = resources.gpu_memory_gb
    small = sorted({round(size, 1) for size in fleet.cards_gb if size < SMALLER * budget})
    if small:
        yield (f"some GPUs have {', '.join(f'{size:g}' for size in small)} GiB, less than the {budget:g} GiB of a "
               f"trial: trials that Ray places there have that much")  # fmt: skip


def check_gpu_is_there(resources: Resources, fleet: Fleet) -> None:
    """Raises ConfigError where a GPU is wanted and this machine, the only one, offers none."""
    if resources.use_gpu and not fleet.has_gpu:
        raise ConfigError("resources", ["use_gpu must be left out or false on a machine on which Ray has no GPU but "
                                        "got true (see `raypeft doctor`)"])  # fmt: skip


def nvidia_smi(visible: str | None = None) -> list[float]:
    """Memory of each card of this machine, in GiB, as the driver tells it. Empty without a driver.

    `visible` is CUDA_VISIBLE_DEVICES, where it is known which cards are used: numbers or the beginnings of UUIDs. Of a
    part of a card (MIG) no size is known, and a card that is divided is not used as a whole.
    """
    modes = ask_driver("mig.mode.current")
    divided = {place for place, mode in enumerate(modes) if mode.strip() == "Enabled"}
    cards = [line.split(", ") for place, line in enumerate(ask_driver("index,uuid,memory.total"))
             if place not in divided]  # fmt: skip
    if visible is not None:
        names = named_cards(visible)
        cards = [each for each in cards if each[0] in names or each[1].startswith(tuple(names))]
    sizes = [each[-1].strip() for each in cards]
    return [float(size) * 2**20 / GIB for size in sizes if size.replace(".", "").isdigit()]
