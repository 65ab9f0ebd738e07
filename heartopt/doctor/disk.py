"""The folders that training writes to: whether it can, and how much room is left."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

from heartopt.doctor.check import Check, in_bytes, length, shown
from heartopt.errors import OutputError

#: Of stereo audio at 48 kHz in int16, a second.
AUDIO_BYTES = 48_000 * 2 * 2
#: Checkpoints, logs and validation clips of a long run.
OUTPUT_BYTES = 1e9
VALUE_BYTES = 2  # latents are cached in float16


def try_writing(folder: Path) -> Path:
    """Write a file to the folder, or to the nearest one above that is there, and remove it. Returns that folder.

    Raises:
        OutputError: it cannot be written, or something that is no folder is in the way.
    """
    place = Path(os.path.abspath(folder))
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"cannot write to {folder}: {place} is not a folder")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".heartopt-doctor-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())  # a full disk may say so only here
    except OSError as error:
        raise OutputError(f"cannot write to {place}: {error.strerror or error}") from error
    return place


def output_check(folder: Path) -> Check:
    """Whether checkpoints can be written."""
    place = try_writing(folder)
    free = shutil.disk_usage(place).free
    state = "writable" if place == Path(os.path.abspath(folder)) else "can be made"
    detail = f"{shown(folder)}: {state}, {in_bytes(free)} free"
    if free < OUTPUT_BYTES:
        remedy = "free some room, or choose an --output-dir on another disk"
        return Check("output folder", "warning", f"{detail}; a long run may need {in_bytes(OUTPUT_BYTES)}", remedy)
    return Check("output folder", "ok", detail)


def cache_check(folder: Path, *, values_a_second: float, seconds: float | None, bound: float) -> Check:
    """Whether the cached latents of `seconds` of audio have room; None: only what an hour takes is told.

    Args:
        values_a_second: latent values of a second of stereo audio, 25 · 256 for the released codec.
        bound: bytes that train lets the cache hold.
    """
    name, place = "cache folder", try_writing(folder)
    free = shutil.disk_usage(place).free
    known = 3600.0 if seconds is None else seconds
    latents, audio = VALUE_BYTES * values_a_second * known, AUDIO_BYTES * known
    what = "an hour of audio" if seconds is None else f"these {length(known)}"
    detail = (
        f"{shown(folder)}: {in_bytes(free)} free; latents of {what} take {in_bytes(latents)}, "
        f"objectives that listen (bypass, ode) {in_bytes(audio)} more"
    )
    if seconds is None:
        return Check(name, "ok", detail)
    larger = "choose a folder on a larger disk with --cache-dir or $HEARTOPT_CACHE"
    if free < latents:
        return Check(name, "failed", detail, larger)
    if free < latents + audio:
        return Check(name, "warning", detail, f"{larger}, if you train with those")
    with_audio = math.ceil((latents + audio) / 1e9)
    if bound < latents:
        remedy = f"give train --cache-size {math.ceil(latents / 1e9)}, with objectives that listen {with_audio}"
        return Check(name, "warning", detail, remedy)
    remedy = f"for objectives that listen, give train --cache-size {with_audio}" if bound < latents + audio else ""
    return Check(name, "ok", detail, remedy)
