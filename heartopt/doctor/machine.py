"""The device and its memory, and the machine's own."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heartopt.doctor.check import Check, in_bytes, printable
from heartopt.errors import HeartoptError

if TYPE_CHECKING:
    import torch

#: Values of the released codec: what is assumed of a codec that did not load.
RELEASE_VALUES = 1_660_000_000
#: A codec with fewer values than this trains on a CPU, and on any GPU.
SMALL_CODEC = 100_000_000
#: The training report's minimum for the released codec.
GPU_BYTES = 8e9
SMALL_GPU_BYTES = 2e9
#: What `heartopt train` asks for with the released codec and no flag that saves memory (`reports/train_cost.md`).
ROOMY_BYTES = 25e9
THRIFT = "--dtype bfloat16 --batch-size 2 --grad-accum 4 --gradient-checkpointing"
#: Python, torch and a song at a time, beside the codec's weights.
PROGRAM_BYTES = 2e9
WEIGHT_BYTES = 4  # float32, as they are read from the disk, whatever they are cast to
_CGROUP = Path("/sys/fs/cgroup")


def find_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is one, else the CPU. Raises HeartoptError if it is absent."""
    import torch

    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise HeartoptError(f"{name}: torch finds {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise HeartoptError("mps: torch finds no Metal device")
    return device


def gpu_memory(device: torch.device) -> tuple[int, int] | None:
    """Free bytes and all bytes of a GPU; None where there is none, or it does not tell."""
    import torch

    if device.type != "cuda":
        return None
    with suppress(Exception):  # `device_check` asks again, and says what is wrong
        return torch.cuda.mem_get_info(device)
    return None


def device_check(device: torch.device, values: int, memory: tuple[int, int] | None = None) -> Check:
    """Whether training a codec of that many values is sensible on this device.

    `memory`: what `gpu_memory` said before the codec took its share.
    """
    import torch

    small = values < SMALL_CODEC
    if device.type == "cuda":
        return _gpu(device, SMALL_GPU_BYTES if small else GPU_BYTES, memory, thrift=not small)
    if device.type == "mps":
        return Check("device", "ok", "mps: Apple's GPU, which shares the memory below")
    where = f"{device}: {_cores()} cores"
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        remedy = "install a torch that is built for this driver's CUDA version, or update the driver"
        return Check("device", "warning", f"{where}; an NVIDIA driver is here, but torch finds no GPU", remedy)
    if small:
        return Check("device", "ok", f"{where}; this codec is small: a training step takes seconds")
    return Check(
        "device",
        "warning",
        f"{where}; with a codec of this size a training step takes minutes instead of about a second, "
        "an epoch of 100 songs hours",
        "use a GPU of 8 GB or more, or try things out with --codec mini",
    )


def _gpu(device: torch.device, needed: float, memory: tuple[int, int] | None, *, thrift: bool) -> Check:
    import torch

    card = torch.cuda.get_device_properties(device)
    free, total = memory or torch.cuda.mem_get_info(device)
    detail = f"{device}: {printable(card.name)}, {in_bytes(free)} of {in_bytes(total)} free"
    if total < needed:
        remedy = "use a smaller --batch-size and --max-duration, or a larger GPU"
        return Check("device", "warning", f"{detail}; less than {in_bytes(needed)}", remedy)
    if thrift and total < ROOMY_BYTES:
        detail += f"; enough with {THRIFT}, not with train's defaults"
    if free < needed:
        remedy = "end what else runs on this GPU (nvidia-smi lists it), or choose another --device"
        return Check("device", "warning", f"{detail}; other programs leave less than {in_bytes(needed)}", remedy)
    return Check("device", "ok", detail)


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory, all and free; None where the system does not tell."""

    total: int | None
    free: int | None


def read_memory() -> Memory:
    """The machine's memory, or this container's share of it."""
    total, free = _pages("SC_PHYS_PAGES"), _available()
    with suppress(OSError, ValueError):
        limit = int((_CGROUP / "memory.max").read_text())  # "max" where there is no limit
        left = limit - int((_CGROUP / "memory.current").read_text())
        total = limit if total is None else min(total, limit)
        free = left if free is None else min(free, left)
    return Memory(total, free)


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not every system knows every name
        return None


def _available() -> int | None:
    """Linux counts what its file cache would give back as available; elsewhere unused pages are all that is told."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return _pages("SC_AVPHYS_PAGES")


def memory_check(memory: Memory, values: int) -> Check:
    """Whether a codec of that many values can be loaded: read from the disk once, held once."""
    needed = 2 * WEIGHT_BYTES * values + PROGRAM_BYTES
    if memory.total is None:
        return Check("memory", "skipped", "this system does not tell how much there is")
    free = memory.total if memory.free is None else memory.free
    detail = f"{in_bytes(free)} of {in_bytes(memory.total)} free"
    if free < needed:
        remedy = "end other programs, or use a machine with more memory"
        return Check("memory", "warning", f"{detail}; this codec asks for about {in_bytes(needed)}", remedy)
    return Check("memory", "ok", detail)
