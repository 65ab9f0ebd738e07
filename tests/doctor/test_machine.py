"""Devices and memory, of this machine and of invented ones."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from heartopt.doctor import machine
from heartopt.doctor.machine import (
    RELEASE_VALUES,
    Memory,
    device_check,
    find_device,
    gpu_memory,
    memory_check,
    read_memory,
)
from heartopt.errors import HeartoptError

MINI = 11_900_000
CUDA = torch.device("cuda:0")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch):
    """A GPU of so many bytes: `card(total, free)`."""

    def put(total: float, free: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name="RTX \x1b[1m3070"))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free), int(total)))

    return put


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)


def test_a_card_that_is_sold_as_8_gb_is_enough(card) -> None:
    card(8.36e9, 8.1e9)
    check = device_check(CUDA, RELEASE_VALUES)
    assert (check.status, check.remedy) == ("ok", "")
    assert check.detail.startswith(r"cuda:0: RTX \x1b[1m3070, 8.1 GB of 8.4 GB free; enough with --dtype bfloat16 ")


def test_a_large_card_needs_no_thrift(card) -> None:
    card(80e9, 79e9)
    assert device_check(CUDA, RELEASE_VALUES).detail.endswith("79.0 GB of 80.0 GB free")


def test_what_the_codec_itself_has_taken_counts_as_free(card) -> None:
    card(12e9, 11e9)
    before = gpu_memory(CUDA)
    card(12e9, 4e9)  # the codec is there now
    assert device_check(CUDA, RELEASE_VALUES, before).status == "ok"
    assert device_check(CUDA, RELEASE_VALUES).status == "warning"
    assert gpu_memory(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("total", "free", "values", "status", "advice"),
    [
        (6e9, 6e9, RELEASE_VALUES, "warning", "--batch-size"),
        (24e9, 3e9, RELEASE_VALUES, "warning", "nvidia-smi"),
        (6e9, 6e9, MINI, "ok", ""),
        (24e9, 1e9, MINI, "warning", "nvidia-smi"),
    ],
)
def test_gpu_memory_is_judged_by_the_codec(card, total, free, values, status, advice) -> None:
    card(total, free)
    check = device_check(CUDA, values)
    assert check.status == status and advice in check.remedy


def test_a_cpu_costs_time_in_words(no_card: None) -> None:
    cpu = torch.device("cpu")
    small, large = device_check(cpu, MINI), device_check(cpu, RELEASE_VALUES)
    assert (small.status, large.status) == ("ok", "warning")
    assert "seconds" in small.detail and "minutes instead of about a second" in large.detail
    assert "8 GB" in large.remedy


def test_a_driver_without_a_torch_for_it_is_a_warning(no_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    check = device_check(torch.device("cpu"), MINI)
    assert check.status == "warning" and "torch finds no GPU" in check.detail


def test_devices_that_are_not_there(no_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("auto") == torch.device("cpu") == find_device("cpu")
    with pytest.raises(HeartoptError, match="cuda:1: torch finds 0 CUDA devices"):
        find_device("cuda:1")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(HeartoptError, match="no Metal device"):
        find_device("mps")


def test_memory_of_this_machine() -> None:
    memory = read_memory()
    assert memory.total is not None and memory.free is not None
    assert 0 < memory.free <= memory.total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_container_s_share_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    whole = read_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert read_memory().total == whole
    (tmp_path / "memory.max").write_text("5000\n")
    assert read_memory() == Memory(5000, 4000)


def test_systems_that_do_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert read_memory().total is None
    assert memory_check(Memory(None, None), MINI).status == "skipped"


@pytest.mark.parametrize(
    ("memory", "values", "status"),
    [
        (Memory(16_000_000_000, 15_400_000_000), RELEASE_VALUES, "ok"),  # 2 · 4 · 1.66e9 + 2e9 = 15.28e9
        (Memory(16_000_000_000, 15_200_000_000), RELEASE_VALUES, "warning"),
        (Memory(16_000_000_000, None), RELEASE_VALUES, "ok"),
        (Memory(4_000_000_000, 3_000_000_000), MINI, "ok"),
        (Memory(4_000_000_000, 1_000_000_000), MINI, "warning"),
    ],
)
def test_memory_is_judged_by_the_codec(memory: Memory, values: int, status: str) -> None:
    check = memory_check(memory, values)
    assert check.status == status and bool(check.remedy) == (status == "warning")
