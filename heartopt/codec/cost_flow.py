"""What the flow transformer and the residual VQ weigh and compute, from the config alone.

FLOPs as in `heartopt.codec.cost_scalar`. What a gradient needs of a forward pass through frozen weights: of a linear
layer nothing, of a convolution and a normalization their input, of attention its queries, keys, values and output, of
SwiGLU three values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.cost_scalar import FLOAT32
from heartopt.codec.transformer import TIME_WIDTH


@dataclass(frozen=True)
class Stage:
    """One of the estimator's two stages of transformer blocks."""

    dim: int
    heads: int
    blocks: int

    @property
    def mlp_width(self) -> int:
        return 256 * math.ceil(int(8 * self.dim / 3) / 256)

    @property
    def matrices(self) -> int:
        """Values of one block's matrices, each used once a frame."""
        return 4 * self.dim**2 + 3 * self.dim * self.mlp_width

    @property
    def time_matrices(self) -> int:
        """Values of the time embedding's matrices, each used once an item."""
        return TIME_WIDTH * self.dim + 7 * self.dim**2

    @property
    def values(self) -> int:
        norms_and_table = 2 * self.dim + 6 * self.dim
        return (
            self.blocks * (self.matrices + norms_and_table) + self.time_matrices + (1 + 1 + 6) * self.dim + 2 * self.dim
        )

    def kept_bytes(self, width: int) -> int:
        """Bytes a frame that one block's gradient needs, in values of ``width`` bytes; norms keep float32."""
        return width * (4 * self.dim + 3 * self.mlp_width) + FLOAT32 * (2 * self.dim + 2 + self.heads)


@dataclass(frozen=True)
class EstimatorCost:
    """The flow-matching transformer. FLOPs are those of one forward pass.

    ``frame``: FLOPs a latent frame, but for ``pair``: FLOPs a pair of frames of a window (attention; L² pairs).
    ``blocks_frame``: the part of ``frame`` that gradient checkpointing does twice. ``item``: FLOPs a window (time).
    """

    values: int
    frame: int
    pair: int
    blocks_frame: int
    item: int
    stages: tuple[Stage, Stage]
    ends: int  # values a frame that the gradient of its input, connecting and output layers needs
    velocity: int  # values a frame of the velocity's squared error

    def flops(self, frames: int) -> int:
        """Forward FLOPs of a window of ``frames`` latent frames."""
        return frames * self.frame + frames**2 * self.pair + self.item

    def gradient_flops(self, frames: int, *, checkpointing: bool) -> int:
        """FLOPs of the gradient of a window's input, the weights being frozen: once more each matrix, attention twice.

        With checkpointing the blocks are computed once more.
        """
        again = frames * self.blocks_frame + frames**2 * self.pair if checkpointing else 0
        return frames * self.frame + 2 * frames**2 * self.pair + again

    def kept_bytes(self, frames: int, *, width: int, checkpointing: bool) -> int:
        """Bytes that this gradient needs, at its peak, in values of ``width`` bytes."""
        blocks = [(stage, stage.kept_bytes(width)) for stage in self.stages]
        if checkpointing:  # the input of each block, and one block at a time in full
            inner = sum(stage.blocks * width * stage.dim for stage in self.stages) + max(own for _, own in blocks)
        else:
            inner = sum(stage.blocks * own for stage, own in blocks)
        return frames * (inner + width * self.ends + FLOAT32 * self.velocity)


def estimator_cost(config: HeartCodecConfig) -> EstimatorCost:
    """The estimator of ``config``."""
    heads, raw, out = config.num_attention_heads, config.in_channels, config.out_channels
    first = Stage(heads * config.attention_head_dim, heads, config.num_layers)
    second = Stage(2 * first.dim, heads, config.num_layers_2)
    layers = ((raw, first.dim), (raw + first.dim, second.dim), (second.dim, out))
    ends = sum(3 * into * to + to * to for into, to in layers)
    blocks = sum(stage.blocks * stage.matrices for stage in (first, second))
    return EstimatorCost(
        values=ends + sum(2 * to for _, to in layers) + first.values + second.values,
        frame=2 * (ends + blocks),
        pair=sum(4 * stage.dim * stage.blocks for stage in (first, second)),
        blocks_frame=2 * blocks,
        item=2 * (first.time_matrices + second.time_matrices),
        stages=(first, second),
        ends=sum(into for into, _ in layers) + first.dim + second.dim,  # the convolutions, and the output norms
        velocity=out,
    )


@dataclass(frozen=True)
class QuantizerCost:
    """The residual VQ and the condition. FLOPs are those of a code frame; ``search``: distances to all codes of all
    levels.
    """

    values: int
    condition_values: int
    project_in: int
    project_out: int
    search: int
    condition: int


def quantizer_cost(config: HeartCodecConfig) -> QuantizerCost:
    """The residual VQ of ``config``, running averages of its codebooks included."""
    dim, width, size, levels = config.dim, config.codebook_dim, config.codebook_size, config.num_quantizers
    matrix = dim * width if dim != width else 0  # of equal widths, the library projects nothing
    return QuantizerCost(
        values=2 * matrix + (dim + width if matrix else 0) + levels * (2 * size * width + size + 1),
        condition_values=dim * dim + dim + dim,
        project_in=2 * matrix,
        project_out=2 * matrix,
        search=2 * levels * size * width,
        condition=2 * dim * dim,
    )
