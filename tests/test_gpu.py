"""The budget of a process on a card that others use as well, and what errors of CUDA mean. The card is a stand-in."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from raypeft import gpu, machine
from raypeft.gpu import (
    CONTEXT_GB,
    GIB,
    SPARE_GB,
    Meter,
    batches_within_memory,
    budget_gb,
    had_its_budget,
    is_out_of_memory,
    take_budget,
)
from raypeft.trial.run import failure


class Card:
    """A GPU with `total` GiB, of which other processes hold `others`, and this one its context and `held`."""

    def __init__(self, total: float, others: float = 0.0, held: float = 0.0) -> None:
        self.total, self.others, self.held, self.cap = total, others, held, total
        self.is_broken = False

    def install(self, patch: pytest.MonkeyPatch) -> "Card":
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "init", lambda: None)
        patch.setattr(torch.cuda, "mem_get_info", self.info)
        patch.setattr(torch.cuda, "memory_reserved", lambda: int(self.held * GIB))
        patch.setattr(torch.cuda, "max_memory_reserved", lambda: int(self.held * GIB))
        patch.setattr(torch.cuda, "empty_cache", lambda: self.info() and None)
        patch.setattr(torch.cuda, "set_per_process_memory_fraction", self.set_cap)
        patch.setattr(gpu, "card_gb", lambda: self.total)
        return self

    def info(self) -> tuple[int, int]:
        if self.is_broken:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return int((self.total - self.others - self.held - CONTEXT_GB) * GIB), int(self.total * GIB)

    def set_cap(self, fraction: float) -> None:
        self.cap = fraction * self.total


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_granted", None)
        patch.setenv("PYTORCH_ALLOC_CONF", "")
        patch.setenv("CUDA_DEVICE_ORDER", "")
        yield patch


def test_on_a_free_large_card_the_budget_is_what_was_asked(patch: pytest.MonkeyPatch) -> None:
    card = Card(80).install(patch)
    assert take_budget(24) == pytest.approx(24) == budget_gb()
    assert card.cap == pytest.approx(24 - CONTEXT_GB)


def test_a_card_that_is_partly_used_gives_what_is_free(patch: pytest.MonkeyPatch) -> None:
    card = Card(23.65, others=10).install(patch)
    assert take_budget(24) == pytest.approx(13.65 - SPARE_GB)
    assert card.cap == pytest.approx(13.65 - SPARE_GB - CONTEXT_GB)


def test_what_a_neighbour_holds_is_not_taken_for_this_processs_context(patch: pytest.MonkeyPatch) -> None:
    caps = []
    for others in (0.0, 0.5, 8.0):
        card = Card(80, others=others).install(patch)
        take_budget(1.4)
        caps.append(card.cap)
    assert caps == [pytest.approx(1.4 - CONTEXT_GB)] * 3


def test_what_the_process_holds_already_is_part_of_its_budget(patch: pytest.MonkeyPatch) -> None:
    Card(24, held=12).install(patch)
    assert take_budget(24) == pytest.approx(24 - SPARE_GB)


def test_without_a_gpu_there_is_no_budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: False)
    assert take_budget(24) is None and budget_gb() is None


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["allocator", "driver", "cuBLAS", "cuDNN"],
)
def test_every_form_of_a_full_card_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        MemoryError("out of memory"),
        ValueError("CUDA out of memory"),
    ],
    ids=["the host's", "a broken context", "Python's", "no error of PyTorch"],
)
def test_other_errors_are_not_taken_for_a_full_card(error: Exception) -> None:
    assert not is_out_of_memory(error)


def in_batches(count: int, batch_size: int, fits: int) -> tuple[list[list[int]], list[int]]:
    """The batches that `count` items are worked on in where so many fit, and the sizes that were tried."""
    tried = []

    def work(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        if len(batch) > fits:
            raise torch.cuda.OutOfMemoryError("too much")
        return [*batch]

    return [found for _, found in batches_within_memory(range(count), batch_size, work)], tried


def test_what_does_not_fit_is_worked_on_in_halves_also_where_less_than_half_a_batch_is_left() -> None:
    assert in_batches(5, 4, fits=2) == ([[0, 1], [2, 3], [4]], [4, 2, 2, 1])
    assert in_batches(3, 100, fits=1) == ([[0], [1], [2]], [3, 1, 1, 1])
    with pytest.raises(torch.cuda.OutOfMemoryError):
        in_batches(1, 8, fits=0)


def test_the_peak_is_that_of_what_fits_and_not_of_what_was_tried_before_it(patch: pytest.MonkeyPatch) -> None:
    Card(24).install(patch)
    told: list[str] = []
    patch.setattr(torch.cuda, "empty_cache", lambda: told.append("freed"))
    patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: told.append("peak begins anew"))
    assert in_batches(2, 2, fits=1)[0] == [[0], [1]]
    assert told == ["freed", "peak begins anew"]


def test_out_of_memory_is_a_result_where_the_process_held_its_budget(patch: pytest.MonkeyPatch) -> None:
    card = Card(80).install(patch)
    take_budget(24)
    card.held = 23
    assert had_its_budget(24)
    assert failure(torch.cuda.OutOfMemoryError("CUDA out of memory"), 24)["status"] == "oom"


def test_one_large_allocation_beyond_the_budget_is_the_trials_own(patch: pytest.MonkeyPatch) -> None:
    card = Card(80).install(patch)
    take_budget(24)
    card.held = 3
    assert had_its_budget(24)


def test_out_of_memory_because_of_a_neighbour_is_no_result_of_the_trial(patch: pytest.MonkeyPatch) -> None:
    card = Card(24).install(patch)
    take_budget(24)
    card.held, card.others = 6, 17
    assert not had_its_budget(24)
    shared = failure(torch.cuda.OutOfMemoryError("CUDA out of memory"), 3, 24)
    assert shared["status"] == "lost" and "it shared a GPU, with 3 of 24 GiB" in shared["error"]
    row = failure(torch.cuda.OutOfMemoryError("CUDA out of memory"), 24)
    assert row["status"] == "lost" and "other processes held GPU memory of this trial" in row["error"]


def test_a_card_that_was_full_at_the_start_is_no_result_of_the_trial(patch: pytest.MonkeyPatch) -> None:
    Card(24, others=15).install(patch)
    take_budget(24)
    assert "which had 8.7 of 24 GiB" in failure(torch.cuda.OutOfMemoryError("CUDA out of memory"), 24)["error"]


def test_a_broken_context_raises_nothing_while_memory_is_freed(patch: pytest.MonkeyPatch) -> None:
    card = Card(24).install(patch)
    card.is_broken = True
    gpu.free_memory()
    with pytest.raises(torch.AcceleratorError):
        take_budget(24)


@pytest.mark.parametrize(("capability", "expected"), [
    ((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16),
])  # fmt: skip
def test_cards_before_ampere_compute_in_float16(
    patch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert gpu.half() is expected


def test_the_drivers_version_is_asked_of_the_driver(patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = "[ $1 = --query-gpu=driver_version ] && printf '580.159.04\\n580.159.04\\n'"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{told}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    gpu.driver_version.cache_clear()
    patch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpu.driver_version() == "580.159.04"
    gpu.driver_version.cache_clear()
    patch.setenv("PATH", "/nowhere")
    assert gpu.driver_version() is None
    gpu.driver_version.cache_clear()


@pytest.mark.parametrize("text", [
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
])  # fmt: skip
def test_a_library_that_finds_no_room_for_itself_has_run_out_of_memory(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


def test_a_context_is_asked_whether_an_error_has_broken_it(patch: pytest.MonkeyPatch) -> None:
    card = Card(24).install(patch)
    patch.setattr(torch.cuda, "is_initialized", lambda: True)
    patch.setattr(torch.cuda, "synchronize", card.info)
    assert not gpu.is_broken()
    card.is_broken = True
    assert gpu.is_broken()


@pytest.mark.parametrize(("torch_version", "name"), [
    ("2.8.0", "PYTORCH_CUDA_ALLOC_CONF"), ("2.11.0+cu130", "PYTORCH_CUDA_ALLOC_CONF"), ("2.13.0", "PYTORCH_ALLOC_CONF"),
])  # fmt: skip
def test_the_allocator_is_told_by_the_name_that_this_pytorch_reads(
    patch: pytest.MonkeyPatch, torch_version: str, name: str
) -> None:
    for each in gpu.ALLOCATOR:
        patch.delenv(each, raising=False)
    patch.setattr(gpu, "version", lambda _: torch_version)
    gpu.prepare()
    assert {each: os.environ.get(each) for each in gpu.ALLOCATOR if each in os.environ} == {
        name: "expandable_segments:True"}  # fmt: skip


def test_what_a_user_has_told_the_allocator_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:128")
    patch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    gpu.prepare()
    assert "PYTORCH_ALLOC_CONF" not in os.environ and os.environ["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:128"


def test_the_driver_is_prepared_before_anything_asks_for_a_card(patch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    for name in ("PYTORCH_ALLOC_CONF", "CUDA_DEVICE_ORDER"):
        patch.delenv(name, raising=False)
    patch.setattr(torch.cuda, "is_available", lambda: bool(seen.append(os.environ.get("CUDA_DEVICE_ORDER"))))
    machine.use_threads(torch.get_num_threads())
    assert seen == ["PCI_BUS_ID"]


def test_deterministic_runs_use_no_fused_attention_whose_gradients_differ_from_run_to_run() -> None:
    for enabled in (True, False):
        gpu.be_deterministic(enabled)
        fused = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()
        assert fused == (not enabled, not enabled)


def test_the_peak_of_a_stage_in_two_parts_is_the_larger_one_of_each_kind_of_memory() -> None:
    meter = Meter()
    for part in ((10.1, 12.0), None, (10.0, 18.0)):
        meter.note("train", part)
    assert meter.peaks == {"train": (10.1, 18.0)}


def test_the_peak_of_a_trial_is_that_of_all_its_stages_and_three_have_columns(patch: pytest.MonkeyPatch) -> None:
    Card(24).install(patch)
    meter, peaks = Meter(), {"load": 2, "check": 9, "train": 5}
    patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    for stage, peak in peaks.items():
        patch.setattr(torch.cuda, "max_memory_allocated", lambda peak=peak: peak * GIB)
        with meter.stage(stage):
            pass
    found = meter.columns()
    assert {name for name in found if "allocated" in name} == {
        "load_peak_memory_allocated_gb", "train_peak_memory_allocated_gb", "peak_memory_allocated_gb"}  # fmt: skip
    assert found["peak_memory_allocated_gb"] == 9
