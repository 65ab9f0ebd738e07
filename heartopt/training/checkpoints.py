"""The whole state of a run in one safetensors file: tensors, and the rest as JSON in its header. Never a
pickle.

One file, renamed into place, so a crash leaves the old state or the new one. No random state and no place in the
order of songs is kept: both follow from the seed and the step. A readable copy of the header lies beside it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError
from heartopt.files import atomic_path, write_json
from heartopt.training.loop import TrainState
from heartopt.training.settings import TrainSettings

LATEST = "latest.safetensors"
EPOCH_NAME = "checkpoint_epoch{:04d}.safetensors"
EPOCH_PATTERN = "checkpoint_epoch*.safetensors"
FORMAT = "heartopt training state 2"
#: Settings that fix the shape and meaning of the weights: a run cannot go on with others.
FIXED = ("projection_type", "hidden_dim", "latent_dim", "latents")


#: Of `TrainState`: numbers that are kept as they are, and ones that are infinite until there is one.
COUNTERS = ("step", "skipped", "skipped_in_a_row", "best_step", "best_stft_step")
RECORDS = ("best_flow", "best_stft")


def save_state(path: Path, state: TrainState, *, settings: TrainSettings, codec: HeartCodec, songs: str) -> None:
    """Write `state` to `path` (`*.safetensors`) and its readable header to `*.json`, atomically each.

    `songs`: a digest of what is trained on. Raises OutputError.
    """
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors["usage"] = state.usage
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    header = {
        "format": FORMAT,
        "codec": codec.name,
        "fingerprint": codec.fingerprint(),
        "settings": settings.as_dict(),
        "scaler": state.scaler.state_dict(),
        "songs": songs,
        "judges": state.judges,
        **{name: getattr(state, name) for name in COUNTERS},
        **{name: _finite(getattr(state, name)) for name in RECORDS},
    }
    # Serialized in memory: a full disk is then an OSError like any other, not an error of the library's own.
    data = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={"heartopt": json.dumps(header)},
    )
    with atomic_path(path) as aside:
        aside.write_bytes(data)
    write_json(path.with_suffix(".json"), header)


def save_epoch(
    folder: Path, epoch: int, keep: int, state: TrainState, *, settings: TrainSettings, codec: HeartCodec, songs: str
) -> None:
    """`save_state` under the epoch's name in `folder`; of such files the newest `keep` stay. Raises OutputError."""
    save_state(folder / EPOCH_NAME.format(epoch), state, settings=settings, codec=codec, songs=songs)
    for path in sorted(folder.glob(EPOCH_PATTERN), key=lambda path: (len(path.name), path.name))[:-keep]:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a state file. Raises CheckpointError where it is missing, damaged or something
    else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("heartopt", "{}"))
            # Cloned: safetensors maps the file into memory, and the tensors must outlive it.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: not a training state that can be read ({error}); "
            "resume from a latest.safetensors of heartopt train"
        ) from error
    if not _is_header(header):
        raise CheckpointError(
            f"{path}: safetensors, but no training state of heartopt train; give a latest.safetensors"
        )
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise CheckpointError(
            f"{path}: values that are not finite in {', '.join(sorted(bad)[:3])}; start without --resume"
        )
    return header, tensors


def saved_rate(path: Path) -> float:
    """The peak learning rate of the run that wrote `path`. Raises CheckpointError as `read_state` does."""
    rate = read_state(path)[0]["settings"].get("learning_rate")
    if not isinstance(rate, float):
        raise CheckpointError(f"{path}: says no learning rate; give one with --lr, without --find-lr")
    return rate


def restore_state(
    path: Path, state: TrainState, *, settings: TrainSettings, codec: HeartCodec, songs: str
) -> list[str]:
    """Fill `state` from `path`. Returns what differs from the run that wrote it, one line each, where it may.

    Raises:
        CheckpointError: unreadable, of another codec, or of another projection.
    """
    header, tensors = read_state(path)
    if header["fingerprint"] != codec.fingerprint():
        raise CheckpointError(
            f"{path}: trained with another codec ({header['codec']}) than {codec.name}; start a new run"
        )
    before, now = header["settings"], json.loads(json.dumps(settings.as_dict()))
    for name in FIXED:
        if before.get(name) != now[name]:
            raise CheckpointError(
                f"{path}: trained with {name} {before.get(name)}, not {now[name]}; use that, or start a new run"
            )
    if ("bypass" in before["objective"]) != ("bypass" in now["objective"]):
        raise CheckpointError(
            f"{path}: trained with objective {', '.join(before['objective'])}, not {', '.join(now['objective'])}; "
            "only one of them has bypass' decoder: use that, or start a new run from its projection with --init"
        )
    try:
        state.model.load_state_dict(
            {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        )
        state.usage.copy_(tensors["usage"])
        if header["scaler"]:
            state.scaler.load_state_dict(header["scaler"])
        _restore_optimizer(state.optimizer, tensors)
        for name in COUNTERS:
            setattr(state, name, header[name])
        for name in RECORDS:
            setattr(state, name, math.inf if header[name] is None else header[name])
        state.judges = dict(header.get("judges", {}))
    except (RuntimeError, LookupError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: does not fit this projection ({reason}); start a new run") from error
    changes = [
        f"{name} was {before.get(name)} and is now {value}" for name, value in now.items() if before.get(name) != value
    ]
    if header["songs"] != songs:
        changes.append("the training songs are not the same as before")
    return changes


def _is_header(header: object) -> bool:
    """Whether it says all that `save_state` writes."""
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        return False
    settings = header.get("settings")
    return (
        {"codec", "fingerprint", "scaler", "songs", *RECORDS} <= header.keys()
        and all(type(header.get(name)) is int for name in COUNTERS)
        and isinstance(settings, dict)
        and isinstance(settings.get("objective"), dict)
    )


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _restore_optimizer(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    """Moments from `optimizer.INDEX.NAME` tensors; learning rate and decay are this run's own."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, moment = name.split(".", 2)
            moments.setdefault(int(number), {})[moment] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, values in moments.items():
        complete = {"exp_avg", "exp_avg_sq", "step"} <= set(values)
        if not complete or values["exp_avg"].shape != parameters[index].shape:
            raise ValueError(f"optimizer state {index} is incomplete or of another shape")
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
