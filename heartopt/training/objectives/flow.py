"""`flow`: the frozen decoder's own training loss, as a function of the codes it is given."""

from __future__ import annotations

from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.training.crops import Batch
from heartopt.training.draws import Draws


def flow_losses(codec: HeartCodec, batch: Batch, condition: Tensor, draws: Draws) -> Tensor:
    """The flow-matching loss (HeartMuLa, arXiv 2601.10547, Eq. 3) under `condition` `[B, L, D]`, an item: `[B]`."""
    assert draws.times is not None and draws.noise is not None
    return codec.flow_matching.flow_loss(
        batch.targets,
        condition,
        times=draws.times,
        noise=draws.noise,
        context=draws.context,
        frames=batch.real,
    )
