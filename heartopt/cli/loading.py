"""From the common options to a codec and a projection in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heartopt.errors import CodecError, ConfigError, HeartoptError

if TYPE_CHECKING:
    import torch

    from heartopt.codec import HeartCodec
    from heartopt.projection import EncoderProjection


@dataclass(frozen=True)
class CodecChoice:
    """Which codec, and where it runs: the common options of a command."""

    name: str
    revision: str | None
    local_files_only: bool
    device: str
    dtype: str = "float32"

    def load(self) -> HeartCodec:
        """The codec on its device. Raises HeartoptError."""
        import torch

        from heartopt.codec import HeartCodec

        device = pick_device(self.device)
        return HeartCodec.from_pretrained(
            self.name,
            revision=self.revision,
            local_files_only=self.local_files_only,
            dtype=getattr(torch, self.dtype),
            device=device,
        )


def pick_device(name: str) -> torch.device:
    """The torch device of `--device`. Raises HeartoptError where torch does not find it."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise HeartoptError(f"--device {name}: torch finds {torch.cuda.device_count()} CUDA devices; use cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise HeartoptError("--device mps: torch finds no Metal device here; use --device cpu")
    return device


def local_device(name: str) -> str:
    """The device of this process where several share a machine: `cuda` becomes the one of its local rank, and so does
    `auto` where there is one.
    """
    import torch

    rank = os.environ.get("LOCAL_RANK")
    if rank is None or not (name == "cuda" or (name == "auto" and torch.cuda.is_available())):
        return name
    return f"cuda:{rank}"


def check_duration(seconds: float | None) -> None:
    """Raises ConfigError for a `--duration` that no decoding window has; None is the codec's own."""
    from heartopt.codec.windows import WindowPlan

    if seconds is None:
        return
    try:
        WindowPlan.of_duration(seconds)
    except CodecError as error:
        raise ConfigError(f"--duration: {error}") from error


def load_projection(path: Path | None, codec: HeartCodec) -> EncoderProjection:
    """The projection at `path`, or the codec's own; on the codec's device. Raises CheckpointError."""
    from heartopt.projection import check_fits, default_projection
    from heartopt.projection import load_projection as read_projection

    projection = default_projection(codec) if path is None else read_projection(path)
    check_fits(projection, codec)
    return projection.to(codec.scalar_device).eval()
