"""A projection's start: its output begins where the codebooks are.

A random last layer puts every frame far from all codes, or onto a few of them: the first level then uses a
handful of codes and the straight-through gradient has little to say. Here the last layer is set so that, over
real crops, the 32-wide vectors behind `project_in` have the mean and the covariance of the sums of code
vectors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch


def codebook_statistics(codec: HeartCodec) -> tuple[Tensor, Tensor]:
    """Mean `[d]` and covariance `[d, d]` of the sum of code vectors, one of each level, levels taken as
    independent.

    Codes count by how often the codec's training saw them (`cluster_size`), or alike where that is not
    stored.
    """
    mean, covariance = torch.zeros(()), torch.zeros(())
    for layer in codec.flow_matching.vq_embed.layers:
        vectors = layer._codebook.embed[0].detach().cpu().double()
        counts = layer._codebook.cluster_size[0].detach().cpu().double()
        usable = bool(torch.isfinite(counts).all()) and bool((counts >= 0).all()) and counts.sum() > 0
        share = counts / counts.sum() if usable else torch.full_like(counts, 1 / len(counts))
        centre = share @ vectors
        spread = (vectors - centre) * share.sqrt()[:, None]
        mean, covariance = mean + centre, covariance + spread.T @ spread
    return mean, covariance


@torch.no_grad()
def start_at_codebooks(projection: EncoderProjection, codec: HeartCodec, batches: Iterable[Batch]) -> None:
    """Set `projection`'s last layer from the hidden features `h` that it gives on `batches` (the rest stays
    as it is).

    The layer becomes `P⁺(A(h − mean h) + mean − b)`, with `P⁺` the pseudo-inverse of `project_in`'s weight
    and `b` its bias. `A` sends the strongest principal directions of `h`, whitened, to the codebooks'
    principal directions at the codebooks' scale, strongest to strongest. Frames that were looped to fill a
    crop are not counted.
    """
    layer = _last_layer(projection)
    hidden = torch.cat([_hidden(projection, layer, batch) for batch in batches]).cpu().double()
    centre = hidden.mean(0)
    _, strength, directions = torch.linalg.svd(hidden - centre, full_matrices=False)
    deviation = strength / max(1, len(hidden) - 1) ** 0.5
    directions = directions * torch.where(directions.sum(1, keepdim=True) < 0, -1.0, 1.0)

    mean, covariance = codebook_statistics(codec)
    variance, axes = torch.linalg.eigh(covariance)
    variance, axes = variance.flip(0).clamp_min(0), axes.flip(1)
    axes = axes * torch.where(axes.sum(0, keepdim=True) < 0, -1.0, 1.0)

    rank = min(len(variance), len(deviation))
    # Directions that hardly vary on these crops are not blown up to full scale.
    scale = variance[:rank].sqrt() / deviation[:rank].clamp_min(1e-3 * float(deviation[0]) + 1e-12)
    colour = (axes[:, :rank] * scale) @ directions[:rank]

    project_in = codec.flow_matching.vq_embed.project_in
    inverse = torch.linalg.pinv(project_in.weight.detach().cpu().double())
    offset = project_in.bias.detach().cpu().double()
    layer.weight.copy_((inverse @ colour).view_as(layer.weight))
    cast(Tensor, layer.bias).copy_(inverse @ (mean - offset - colour @ centre))


def _last_layer(projection: EncoderProjection) -> nn.Linear | nn.Conv1d:
    """The affine map that ends every type of projection."""
    net = projection.net
    layer = net[-1] if isinstance(net, nn.Sequential) else net.proj_out
    assert isinstance(layer, (nn.Linear, nn.Conv1d)) and layer.bias is not None
    return layer


def _hidden(projection: EncoderProjection, layer: nn.Module, batch: Batch) -> Tensor:
    """What `layer` receives for `batch`, at code rate: `[M, H]`, real frames only.

    The layer is affine, so the rate bridge after it is the same as before it.
    """
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        projection.project(batch.inputs)
    finally:
        hook.remove()
    hidden = seen[0].transpose(1, 2) if isinstance(layer, nn.Conv1d) else seen[0]
    real = batch.real[:, ::LATENTS_PER_CODE]
    if hidden.shape[1] != real.shape[1]:
        pairs = hidden.reshape(*real.shape, LATENTS_PER_CODE, -1)
        hidden = pairs.mean(2) if projection.bridge == "mean" else pairs[:, :, 0]
    return hidden[real]
