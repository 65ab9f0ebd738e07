"""A projection made of settings and tensors that were read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heartopt.errors import CheckpointError
from heartopt.projection.network import EncoderProjection


def restored(path: Path, settings: dict[str, Any], state: dict[str, Any], fingerprint: str | None) -> EncoderProjection:
    """A frozen projection in eval mode, in float32, with copies of the tensors of ``state``; ``path`` is for errors.

    Args:
        fingerprint: of the codec that it was trained for, where the file says.

    Raises:
        CheckpointError: settings and tensors do not fit together, or a tensor has values that are not finite.
    """
    tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
    try:
        with torch.device("meta"):  # its own random start would be thrown away, and would move the random state
            projection = EncoderProjection(**settings)
        copies = {name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in tensors.items()}
        projection.load_state_dict(copies, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"projection {path}: its tensors do not fit its settings: {reason}") from error
    bad = sorted(name for name, tensor in copies.items() if not torch.isfinite(tensor).all())
    if bad:
        raise CheckpointError(f"projection {path}: values that are not finite in {bad[0]}; take an earlier checkpoint")
    projection.codec_fingerprint = fingerprint
    return projection.requires_grad_(False).eval()
