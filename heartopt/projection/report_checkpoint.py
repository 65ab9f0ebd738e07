"""The training report's checkpoints (``best_projection.pt``): read without running what is in them, and written.

Its scripts keep ``projection_state_dict``, ``epoch``, ``global_step``, ``best_loss`` and ``args`` in one pickled dict.
Ours have the same, and under ``heartopt`` what the report's layout cannot say.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heartopt.errors import CheckpointError
from heartopt.files import atomic_path, plain
from heartopt.projection.network import EncoderProjection
from heartopt.projection.restoring import restored

REPORT_SUFFIXES = (".pt", ".pth", ".ckpt")
REPORT_TYPES = ("linear", "conv1d")
OWN_KEY = "heartopt"

#: What torch's weights-only unpickler raises on damaged or unsafe files; the code inside them is never run.
_DAMAGE = (
    pickle.UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class ReportCheckpoint:
    """What a report's checkpoint holds that heartopt uses; what the file does not say is None.

    ``epoch``: the last one done, counted from 0. ``global_step``: optimizer steps done. ``decoder``: the weights of the
    small decoder that the report trains beside the projection, D features -> latents at one rate.
    """

    projection: EncoderProjection
    epoch: int | None
    global_step: int | None
    decoder: dict[str, Tensor] | None


def read_report_checkpoint(path: str | Path) -> ReportCheckpoint:
    """Read a checkpoint of the report's scripts, or of `save_report_checkpoint`; unpickled for weights only.

    Type and widths follow from the tensors (the report's second script says ``mlp`` where the first says ``linear``).
    A file of the report's own was trained on the latents before the tanh: ``latents="pre_tanh"``.

    Raises:
        CheckpointError: missing, damaged, unsafe, or of a layout that heartopt does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"projection {path}: no such file")
    checkpoint = _unpickled(path)
    state = checkpoint.get("projection_state_dict", checkpoint)
    settings = _settings(path, state)
    own = checkpoint.get(OWN_KEY)
    fingerprint = None
    if own is not None:
        if not isinstance(own, dict) or own.get("latent_dim") != settings["latent_dim"]:
            raise CheckpointError(f"projection {path}: what it says about itself does not fit its tensors")
        settings |= {name: own[name] for name in ("latents", "bridge") if name in own}
        fingerprint = own.get("fingerprint")
        if not isinstance(fingerprint, str | None):
            raise CheckpointError(f"projection {path}: its codec's fingerprint is no text")
    decoder = checkpoint.get("vq_decoder_state_dict")
    return ReportCheckpoint(
        projection=restored(path, settings, state, fingerprint),
        epoch=_count(checkpoint.get("epoch")),
        global_step=_count(checkpoint.get("global_step")),
        decoder=decoder if isinstance(decoder, dict) else None,
    )


def save_report_checkpoint(
    projection: EncoderProjection,
    path: str | Path,
    *,
    epoch: int,
    global_step: int,
    best_loss: float,
    args: Mapping[str, Any],
    fingerprint: str | None = None,
) -> None:
    """Write ``path`` as the report's scripts read it, atomically; `read_report_checkpoint` gives the same projection.

    The report's scripts build a projection from 128 to 512 wide and feed it the mono latents before the tanh: only one
    that was trained so (``latents="pre_tanh"``) does in their hands what it was trained for.

    Args:
        epoch: the last one done, counted from 0; the report's scripts go on with the next.
        best_loss: the report's scripts, going on, save only what has a lower loss of their own kind.
        args: under the report's names; ``projection_type`` and ``hidden_dim`` are the projection's own.
        fingerprint: of the codec that the projection was trained for; default: what the projection says.

    Raises:
        CheckpointError: a ``query`` projection: the report has no such network.
        OutputError: it cannot be written.
        TypeError: ``args`` holds what JSON cannot.
    """
    if projection.projection_type not in REPORT_TYPES:
        raise CheckpointError(
            f"{path}: the training report has no {projection.projection_type} projection, so its checkpoints cannot "
            f"hold one; use safetensors, or train one of {', '.join(REPORT_TYPES)}"
        )
    given = {**args, "projection_type": projection.projection_type, "hidden_dim": projection.hidden_dim}
    checkpoint = {
        "projection_state_dict": {
            name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
            for name, tensor in projection.state_dict().items()
        },
        "epoch": int(epoch),
        "global_step": int(global_step),
        "best_loss": float(best_loss),
        # Through JSON: paths and the like would need code to be unpickled.
        "args": json.loads(json.dumps(plain(given))),
        OWN_KEY: {
            "latent_dim": projection.latent_dim,
            "latents": projection.latents,
            "bridge": projection.bridge,
            "fingerprint": fingerprint if fingerprint is not None else projection.codec_fingerprint,
        },
    }
    # Pickled in memory: a full disk is then an OSError like any other, not an error of the library's own.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on pickle protocols: the error below says it all
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise CheckpointError(f"projection {path}: not a checkpoint that loads safely (weights only)") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"projection {path}: holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def _settings(path: Path, state: Any) -> dict[str, Any]:
    """`EncoderProjection`'s arguments, from the shapes of the first and the last layer."""
    first = state.get("net.0.weight") if isinstance(state, dict) else None
    last = state.get("net.6.weight") if isinstance(state, dict) else None
    if not (isinstance(first, Tensor) and isinstance(last, Tensor) and first.ndim == last.ndim in (2, 3)):
        raise CheckpointError(f"projection {path}: no projection_state_dict of the training report's layout in it")
    return {
        "latent_dim": first.shape[1],
        "hidden_dim": first.shape[0],
        "output_dim": last.shape[0],
        "projection_type": "conv1d" if first.ndim == 3 else "linear",
        "latents": "pre_tanh",
    }


def _count(value: Any) -> int | None:
    """A count of 0 or more; None for anything else, also for True."""
    return value if type(value) is int and value >= 0 else None
