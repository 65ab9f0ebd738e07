"""What a training step of a projection costs with a codec of a given config: FLOPs, memory, and GPU hours.

Computed, not measured, from what the codec's parts cost. What is left out is small beside a codec of the release's
size: work value by value, the spectral losses' Fourier transforms, and buffers that live for one operation.
"""

from __future__ import annotations

from dataclasses import dataclass

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.cost_flow import estimator_cost, quantizer_cost
from heartopt.codec.cost_parts import code_rate, stored_values
from heartopt.codec.cost_scalar import (
    FLOAT32,
    flops_per_second,
    kept_bytes_per_second,
    latent_rate,
    normed_bytes,
    scalar_decoder,
    scalar_encoder,
)
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import ConfigError

OBJECTIVES = ("flow", "bypass", "ode", "distill")
#: Bytes of a value of the flow transformer; the ScalarModel and the residual VQ always run in float32.
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Width of the small decoder that `bypass` trains.
BYPASS_WIDTH = 256
#: Of a trained value: itself, its gradient and the optimizer's two averages.
TRAINED_BYTES = 4 * FLOAT32
#: What the gradients of the report's STFT and mel losses need, bytes a sample of a channel (a test measures it).
LOSS_BYTES = 222


@dataclass(frozen=True)
class Cost:
    """One optimizer step over ``audio_seconds`` of music, and the encoding that comes before all steps.

    ``weights_bytes``: the parts of the codec that the objective uses, and all that belongs to the trained weights.
    ``activation_bytes``: what the step's gradient needs of its forward pass, at the peak.
    ``encode_flops``: of a second of music, once: its latents are kept.
    """

    audio_seconds: float
    flops_per_step: float
    weights_bytes: int
    activation_bytes: int
    encode_flops: float

    @property
    def memory_bytes(self) -> int:
        return self.weights_bytes + self.activation_bytes

    @property
    def flops_per_second(self) -> float:
        """FLOPs of learning once from a second of music."""
        return self.flops_per_step / self.audio_seconds

    def gpu_hours(self, hours: float, *, epochs: float, teraflops: float) -> float:
        """Hours to encode ``hours`` of music once and learn from them ``epochs`` times.

        ``teraflops``: 10¹² FLOPs a second that the device really does on such work: less than its data sheet says.
        """
        return hours * (self.encode_flops + epochs * self.flops_per_second) / (teraflops * 1e12)


def training_cost(
    config: HeartCodecConfig,
    objective: str,
    batch: int,
    seconds: float,
    *,
    precision: str = "float32",
    latent_dim: int | None = None,
    hidden_dim: int = 256,
    ode_steps: int = 4,
    checkpointing: bool = False,
) -> Cost:
    """The cost of one step of `heartopt train` with a ``linear`` projection and the straight-through quantizer.

    Args:
        objective: one of `OBJECTIVES`.
        batch: crops of a step.
        seconds: length of a crop, rounded to whole code frames.
        precision: of the flow transformer: float32, bfloat16 or float16.
        latent_dim: what the projection reads, the latents of one channel or, by default, of two; ``bypass`` makes
            mono audio of the first, stereo of the second.
        hidden_dim: of the projection.
        ode_steps: Euler steps of ``ode``; each is computed twice, for the memory of one.
        checkpointing: of the flow transformer's gradient.

    Raises:
        ConfigError: an unknown objective or precision, or no audio.
    """
    codes = round(seconds * code_rate(config))
    if objective not in OBJECTIVES or precision not in WIDTHS:
        raise ConfigError(
            f"objective {objective!r} in {precision!r}: choose of {', '.join(OBJECTIVES)} and of {', '.join(WIDTHS)}"
        )
    if batch < 1 or codes < 1:
        raise ConfigError(f"a batch of {batch} crops of {seconds:g} s: give at least one crop of one code frame")
    step = _Step(
        config=config,
        batch=batch,
        codes=codes,
        width=WIDTHS[precision],
        latent_dim=latent_dim or 2 * config.latent_hidden_dim,
        hidden_dim=hidden_dim,
        ode_steps=ode_steps,
        checkpointing=checkpointing,
    )
    own = {"flow": step.flow, "bypass": step.bypass, "ode": step.ode, "distill": step.distill}[objective]()
    shared = step.choice()
    mono = step.latent_dim == config.latent_hidden_dim
    return Cost(
        audio_seconds=batch * codes / code_rate(config),
        flops_per_step=shared.flops + own.flops,
        weights_bytes=shared.weights + own.weights,
        activation_bytes=round(shared.activations + own.activations),
        # Left, right, and their mean where the projection reads that.
        encode_flops=(3 if mono else 2) * flops_per_second(scalar_encoder(config)),
    )


@dataclass(frozen=True)
class _Share:
    """FLOPs, bytes of weights and bytes of activations that one part of a step adds."""

    flops: float
    weights: int
    activations: float


@dataclass(frozen=True)
class _Step:
    """A step over ``batch`` crops of ``codes`` code frames; see `training_cost`.

    FLOPs: a trained matrix counts three times (forward, gradient of its input, gradient of itself), a frozen one
    twice, a recomputed one once more.
    """

    config: HeartCodecConfig
    batch: int
    codes: int
    width: int
    latent_dim: int
    hidden_dim: int
    ode_steps: int
    checkpointing: bool

    @property
    def frames(self) -> int:
        """Latent frames of a crop."""
        return LATENTS_PER_CODE * self.codes

    @property
    def seconds(self) -> float:
        """Of a crop."""
        return self.frames / latent_rate(self.config)

    def choice(self) -> _Share:
        """Projection and quantizer, which all objectives share."""
        quantizer, dim, hidden = quantizer_cost(self.config), self.config.dim, self.hidden_dim
        matrices = self.latent_dim * hidden + hidden**2 + hidden * dim
        values = matrices + 6 * hidden + dim  # biases and norms
        # Of the first layer's input no gradient is wanted.
        flops = self.frames * 2 * (3 * matrices - self.latent_dim * hidden)
        flops += self.codes * (quantizer.project_in * 2 + quantizer.search)
        kept = self.frames * (self.latent_dim + 6 * hidden) + self.codes * dim
        return _Share(
            self.batch * flops, values * TRAINED_BYTES + quantizer.values * FLOAT32, self.batch * kept * FLOAT32
        )

    def flow(self) -> _Share:
        """One pass of the estimator over the batch."""
        cost = estimator_cost(self.config)
        flops = cost.flops(self.frames) + cost.gradient_flops(self.frames, checkpointing=self.checkpointing)
        return _Share(self.batch * (self._condition_flops() + flops), self._transformer_bytes(), self._estimator_kept())

    def bypass(self) -> _Share:
        """The small decoder, and one pass of the waveform decoder over all crops, one after the other."""
        dim, latents = self.config.dim, LATENTS_PER_CODE * self.latent_dim
        matrices = BYPASS_WIDTH * (dim + latents)
        channels = self.latent_dim // self.config.latent_hidden_dim
        flops = 3 * 2 * matrices * self.codes + 2 * channels * self._decode_flops()
        flops += 2 * quantizer_cost(self.config).project_out * self.codes
        kept = FLOAT32 * self.codes * (dim + 2 * BYPASS_WIDTH) + self._decode_kept(channels)
        trained = (matrices + BYPASS_WIDTH + latents) * TRAINED_BYTES
        return _Share(self.batch * flops, trained + self._scalar_bytes(), self.batch * kept)

    def ode(self) -> _Share:
        """Euler steps and the waveform decoder, all computed twice; in memory is one step, or one crop's decoding."""
        cost = estimator_cost(self.config)
        once = 2 * cost.flops(self.frames) + cost.gradient_flops(self.frames, checkpointing=self.checkpointing)
        flops = self._condition_flops() + self.ode_steps * once + 3 * 2 * self._decode_flops()
        starts = FLOAT32 * self.batch * self.frames * (self.ode_steps * self.config.out_channels + self.config.dim)
        return _Share(
            self.batch * flops,
            self._transformer_bytes() + self._scalar_bytes(),
            starts + max(self._estimator_kept(), self._decode_kept(2)),
        )

    def distill(self) -> _Share:
        """Distances to all codes once more, computed twice; in memory are those of one level."""
        search = quantizer_cost(self.config).search
        level = FLOAT32 * self.batch * self.codes * self.config.codebook_size
        return _Share(self.batch * self.codes * 3 * search, 0, level)

    def _condition_flops(self) -> float:
        """From summed code vectors to the estimator's condition."""
        quantizer = quantizer_cost(self.config)
        return 2 * (quantizer.project_out + quantizer.condition) * self.codes

    def _transformer_bytes(self) -> int:
        values = stored_values(self.config)
        return self.width * (values.estimator + values.condition)

    def _scalar_bytes(self) -> int:
        values = stored_values(self.config)
        return FLOAT32 * (values.scalar_encoder + values.scalar_decoder)

    def _estimator_kept(self) -> int:
        cost = estimator_cost(self.config)
        return self.batch * cost.kept_bytes(self.frames, width=self.width, checkpointing=self.checkpointing)

    def _decode_flops(self) -> float:
        """Forward FLOPs of one channel of a crop."""
        return self.seconds * flops_per_second(scalar_decoder(self.config))

    def _decode_kept(self, channels: int) -> float:
        """Bytes that the gradient of one crop's decoding and of its losses needs."""
        convs = scalar_decoder(self.config)
        samples = self.seconds * self.config.sample_rate
        return channels * (self.seconds * kept_bytes_per_second(convs) + LOSS_BYTES * samples) + normed_bytes(convs)
