"""The whole state of a run in one safetensors file: tensors, and the rest as JSON in its header. Never a
pickle.

One file, renamed into place, so a crash leaves the old state or the new one. No random state is kept: draws
are keyed by (seed, step). A readable copy of the header lies beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.errors import CheckpointError
from heartopt.files import atomic_path, write_json
from heartopt.training.loop import TrainState
from heartopt.training.settings import TrainSettings

LATEST = "latest.safetensors"
FORMAT = "heartopt training state 1"
#: Settings that fix the shape and meaning of the weights: a run cannot go on with others.
FIXED = ("projection_type", "hidden_dim", "latent_dim")


def save_state(path: Path, state: TrainState, *, settings: TrainSettings, codec: HeartCodec, songs: str) -> None:
    """Write `state` to `path` (`*.safetensors`) and its readable header to `*.json`, atomically each.

    `songs`: a digest of what is trained on. Raises OutputError.
    """
    tensors = {f"projection.{name}": tensor for name, tensor in state.projection.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    header = {
        "format": FORMAT,
        "codec": codec.name,
        "fingerprint": codec.fingerprint(),
        "settings": settings.as_dict(),
        "latents": state.projection.latents,
        "songs": songs,
        "step": state.step,
        "skipped": state.skipped,
        "skipped_in_a_row": state.skipped_in_a_row,
        "best_flow": state.best_flow if state.best_step >= 0 else None,
        "best_step": state.best_step,
    }
    with atomic_path(path) as aside:
        save_file(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
            aside,
            metadata={"heartopt": json.dumps(header)},
        )
    write_json(path.with_suffix(".json"), header)


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
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: safetensors, but no training state of heartopt train; give a latest.safetensors"
        )
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise CheckpointError(
            f"{path}: values that are not finite in {', '.join(sorted(bad)[:3])}; start without --resume"
        )
    return header, tensors


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
    before, now = header["settings"], settings.as_dict()
    for name, was, wanted in [
        *((name, before.get(name), now[name]) for name in FIXED),
        ("latents", header["latents"], state.projection.latents),
    ]:
        if was != wanted:
            raise CheckpointError(f"{path}: trained with {name} {was}, not {wanted}; use that, or start a new run")
    try:
        state.projection.load_state_dict(
            {name.removeprefix("projection."): t for name, t in tensors.items() if name.startswith("projection.")}
        )
        _restore_optimizer(state.optimizer, tensors)
    except (RuntimeError, LookupError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: does not fit this projection ({reason}); start a new run") from error
    state.step, state.skipped = header["step"], header["skipped"]
    state.skipped_in_a_row = header["skipped_in_a_row"]
    if header["best_flow"] is not None:
        state.best_flow, state.best_step = header["best_flow"], header["best_step"]
    changes = [
        f"{name} was {before.get(name)} and is now {value}" for name, value in now.items() if before.get(name) != value
    ]
    if header["songs"] != songs:
        changes.append("the training songs are not the same as before")
    return changes


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
