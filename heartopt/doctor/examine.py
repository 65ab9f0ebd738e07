"""All checks in the order of a training run: programs, machine, codec, songs, folders that are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heartopt.doctor.check import Check, attempt, reason
from heartopt.doctor.disk import cache_check, output_check
from heartopt.doctor.machine import (
    RELEASE_VALUES,
    device_check,
    find_device,
    gpu_memory,
    memory_check,
    read_memory,
)
from heartopt.doctor.versions import heartopt_loads, optional_packages, torch_loads, versions

if TYPE_CHECKING:
    from heartopt.codec import HeartCodec
    from heartopt.doctor.data import Told


def examine(
    *,
    data_dir: Path | None = None,
    val_dir: Path | None = None,
    output_dir: Path | None = None,
    cache_dir: Path | None = None,
    codec: str = "mini",
    revision: str | None = None,
    local_files_only: bool = False,
    device: str = "auto",
    dtype: str = "float32",
    seed: int = 0,
    progress: Told | None = None,
) -> list[Check]:
    """Examine what `heartopt train` would run with; nothing is changed and nothing is left behind.

    Args:
        data_dir: folder or list of songs; None skips its checks, as for `val_dir` and `output_dir`.
        cache_dir: of latents; None is where `train` keeps them.
        seed: of the noise that the codec is tried on.
        progress: hears what is being done and how many files are done (0 where files are not the matter).

    Raises:
        ConfigError: a revision of a codec that is not on the hub.
    """
    told = progress or (lambda what, done: None)
    checks = [versions()]
    told("loading torch", 0)
    checks += [torch_loads(), optional_packages()]
    if checks[1].status != "failed" and (broken := heartopt_loads()):
        checks.append(broken)
    if any(check.status == "failed" for check in checks[1:]):
        checks.append(memory_check(read_memory(), RELEASE_VALUES))
        needing = ("device", "codec", "round trip", "data folder", "validation folder", "cache folder")
        checks += [Check(name, "skipped", "the programs do not load") for name in needing]
    else:
        told("trying the codec", 0)
        tried, loaded = _machine_and_codec(
            codec, revision=revision, local_files_only=local_files_only, device=device, dtype=dtype, seed=seed
        )
        checks += tried
        surveyed, seconds = _songs(data_dir, val_dir, told)
        checks += [*surveyed, _cache(cache_dir, loaded, seconds)]
    if output_dir is None:
        checks.append(Check("output folder", "skipped", "no --output-dir given"))
    else:
        remedy = "choose another --output-dir, or change its permissions"
        checks.append(attempt("output folder", remedy, lambda: output_check(output_dir)))
    return checks


def _machine_and_codec(
    name: str, *, revision: str | None, local_files_only: bool, device: str, dtype: str, seed: int
) -> tuple[list[Check], HeartCodec | None]:
    """Memory is read before the codec takes its share, and judged by the codec's size."""
    import torch

    from heartopt.codec import HeartCodec
    from heartopt.doctor.codec import codec_check, round_trip, values_of

    memory = read_memory()
    try:
        target = find_device(device)
        of_gpu = gpu_memory(target)
    except Exception as error:  # also what a driver that does not fit raises
        skipped = [Check(later, "skipped", "there is no device to run it on") for later in ("codec", "round trip")]
        missing = Check("device", "failed", reason(error), "choose another --device, or auto")
        return [missing, memory_check(memory, RELEASE_VALUES), *skipped], None

    def load() -> HeartCodec:
        return HeartCodec.from_pretrained(
            name,
            revision=revision,
            local_files_only=local_files_only,
            dtype=getattr(torch, dtype),
            device=target,
        )

    found, codec = codec_check(load)
    values = RELEASE_VALUES if codec is None else values_of(codec)
    driver = "update the GPU's driver, or choose --device cpu"
    checks = [
        attempt("device", driver, lambda: device_check(target, values, of_gpu)),
        memory_check(memory, values),
        found,
    ]
    if codec is None:
        return [*checks, Check("round trip", "skipped", "the codec does not load")], None
    remedy = "try --device cpu or --dtype float32: if that works, it is the device or the driver"
    return [*checks, attempt("round trip", remedy, lambda: round_trip(codec, seed=seed))], codec


def _songs(data_dir: Path | None, val_dir: Path | None, told: Told) -> tuple[list[Check], float | None]:
    """The checks of both folders, and the seconds of audio in them (None where there is none)."""
    from heartopt.doctor.data import data_checks, validation_checks

    if data_dir is None:
        checks, data = [Check("data folder", "skipped", "no --data-dir given")], None
    else:
        checks, data = data_checks(data_dir, told)
    if val_dir is None:
        note = "no --val-dir given: train holds out a tenth of the songs, 1 to 8"
        more, judged = [Check("validation folder", "skipped", note)], None
    else:
        more, judged = validation_checks(val_dir, data, told)
    seconds = sum(found.seconds for found in (data, judged) if found is not None)
    return checks + more, seconds or None


def _cache(folder: Path | None, codec: HeartCodec | None, seconds: float | None) -> Check:
    """A codec that did not load is taken for one of the release's rates and widths."""
    from heartopt.codec import HeartCodecConfig
    from heartopt.training.cache import default_cache
    from heartopt.training.request import DEFAULT_CACHE_GB

    config = HeartCodecConfig() if codec is None else codec.config
    rate = 25.0 if codec is None else config.sample_rate / codec.hop
    values = rate * 2 * config.latent_hidden_dim
    remedy = "choose another folder with --cache-dir or $HEARTOPT_CACHE, or change its permissions"
    place = folder or default_cache()
    bound = DEFAULT_CACHE_GB * 1e9
    return attempt(
        "cache folder", remedy, lambda: cache_check(place, values_a_second=values, seconds=seconds, bound=bound)
    )
