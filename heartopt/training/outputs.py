"""What a run leaves in its folder: names, and how the best projections are written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from heartopt.projection import EncoderProjection, save_projection
from heartopt.projection.report_checkpoint import save_report_checkpoint

BEST = "best_projection.safetensors"
BEST_BY_STFT = "best_projection_stft.safetensors"
BEST_FOR_REPORT = "best_projection.pt"
CURVES = "curves.png"


def save_best(projection: EncoderProjection, folder: Path, card: dict[str, Any], *, epoch: float) -> None:
    """Write the projection of the lowest held-out flow loss, with its card; the report's types also as `.pt`."""
    save_projection(projection, folder / BEST, card)
    if projection.projection_type != "query":  # the report's scripts know no such network
        save_report_checkpoint(
            projection,
            folder / BEST_FOR_REPORT,
            epoch=max(0, int(epoch) - 1),  # the report counts finished epochs from zero
            global_step=card["step"],
            best_loss=math.inf,  # its scripts compare it with a loss of their own
            args={"command": card["command"], "codec_name": card["codec"]},
            fingerprint=card["fingerprint"],
        )
