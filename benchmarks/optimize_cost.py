"""What `heartopt optimize` costs with the released codec: FLOPs, memory and time of a window, computed from its config.

`python benchmarks/pages.py` writes reports/optimize_cost.md. Nothing is measured here; the parts are those of
`heartopt.codec.cost_flow` and `cost_scalar`, which tests hold against torch's own counters on a small codec.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heartopt.codec import HeartCodecConfig
from heartopt.codec.cost import LOSS_BYTES, WIDTHS
from heartopt.codec.cost_flow import estimator_cost
from heartopt.codec.cost_parts import stored_values
from heartopt.codec.cost_scalar import (
    FLOAT32,
    flops_per_second,
    kept_bytes_per_second,
    latent_rate,
    normed_bytes,
    scalar_decoder,
    scalar_encoder,
)
from heartopt.optimize import PRESETS, OptimizeSettings
from heartopt.optimize.phases import SHORTEST_PIECE
from heartopt.optimize.window import blend_shares

WINDOW = 29.76  # seconds
CONTEXT = 1.8  # seconds before a sample that the waveform decoder's result depends on
BFLOAT16 = WIDTHS["bfloat16"]
#: Bytes of a device's own needs, and of what no gradient keeps.
SPARE = 1.0 * 2**30
#: Memory in GiB, and TFLOP/s really done: by the transformer in bfloat16, by the waveform coder in TF32.
GPUS = {
    "8 GB (RTX 3070, say)": (8, 20.0, 10.0),
    "24 GB (RTX 4090, say)": (24, 80.0, 40.0),
    "80 GB (A100, say)": (80, 150.0, 75.0),
}


@dataclass(frozen=True)
class Work:
    """FLOPs of the flow transformer and of the waveform coder."""

    flow: float
    wave: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flow + other.flow, self.wave + other.wave)

    def __mul__(self, times: float) -> Work:
        return Work(times * self.flow, times * self.wave)

    def seconds(self, flow_rate: float, wave_rate: float) -> float:
        return self.flow / (flow_rate * 1e12) + self.wave / (wave_rate * 1e12)


class Window:
    """A window of the codec of ``config``; ``settings`` as the command has them."""

    def __init__(self, config: HeartCodecConfig, settings: OptimizeSettings) -> None:
        self.settings = settings
        self.estimator, self.decoder = estimator_cost(config), scalar_decoder(config)
        self.frames = round(WINDOW * latent_rate(config))
        self.rate = config.sample_rate
        values = stored_values(config)
        scalar = values.scalar_encoder + values.scalar_decoder
        self.weights = BFLOAT16 * (values.estimator + values.condition) + FLOAT32 * scalar
        self.encode = Work(0, 2 * WINDOW * flops_per_second(scalar_encoder(config)))
        self.passed = Work(self.estimator.flops(self.frames), 0)
        self.back = Work(self.estimator.gradient_flops(self.frames, checkpointing=False), 0)
        self.heard = Work(0, 2 * WINDOW * flops_per_second(self.decoder))

    def pieces(self, piece: float) -> Work:
        """All of the sound in pieces, each with the context that it needs."""
        return self.heard * ((piece + CONTEXT) / piece if piece < WINDOW else 1.0)

    def step(self, objective: str, piece: float | None = None) -> Work:
        """One optimizer step; ``piece``: seconds of sound at once, the command's unless given."""
        if objective == "flow":
            return (self.passed + self.back) * self.settings.flow.draws
        own = self.settings.ode
        # Guided steps without a gradient, the picked ones with it; pieces of sound forward, again, and back.
        solved = self.passed * (2 * own.solver_steps) + (self.passed + self.back) * own.gradient_steps
        return (solved + self.pieces(piece or own.piece_seconds) * 3) * own.draws

    def decoded(self) -> Work:
        """One decoding as it is judged."""
        return self.passed * (2 * self.settings.num_steps) + self.heard

    def total(self, piece: float) -> Work:
        """Encoding, all steps, comparing the candidates, judging start and result."""
        work = self.encode
        for objective, count in self.settings.phases:
            work += self.step(objective, piece) * count
        decodings = (1 + len(blend_shares(self.settings))) * self.settings.select_seeds + 2 * self.settings.judge_seeds
        return work + self.decoded() * decodings

    def flow_bytes(self, draws: int) -> float:
        return draws * self.estimator.kept_bytes(self.frames, width=BFLOAT16, checkpointing=False)

    def ode_bytes(self, piece: float) -> float:
        """The larger of the picked solver steps and a piece of sound with the context that it needs."""
        picked = self.flow_bytes(self.settings.ode.gradient_steps)
        seconds = min(piece + CONTEXT, WINDOW)
        sound = 2 * seconds * kept_bytes_per_second(self.decoder) + normed_bytes(self.decoder)
        return max(picked, sound, 2 * WINDOW * self.rate * LOSS_BYTES)

    def fitting(self, memory: float) -> tuple[int, float] | None:
        """Draws and seconds of sound at once, halved as the command does where memory runs out; None: not at all."""
        room = memory * 2**30 - self.weights - SPARE
        draws, piece = self.settings.flow.draws, self.settings.ode.piece_seconds
        while draws > 1 and self.flow_bytes(draws) > room:
            draws //= 2
        while piece > SHORTEST_PIECE and self.ode_bytes(piece) > room:
            piece /= 2
        fits = self.flow_bytes(draws) <= room and self.ode_bytes(piece) <= room
        return (draws, piece) if fits else None


def steps(config: HeartCodecConfig) -> Iterator[str]:
    """A line for each objective's step."""
    window = Window(config, OptimizeSettings())
    own = window.settings
    for objective, kept in (
        ("flow", window.flow_bytes(own.flow.draws)),
        ("ode", window.ode_bytes(own.ode.piece_seconds)),
    ):
        work = window.step(objective)
        memory = (window.weights + kept) / 2**30
        yield f"| `{objective}` | {work.flow / 1e12:.1f} | {work.wave / 1e12:.1f} | {memory:.1f} |"


def rows(config: HeartCodecConfig) -> Iterator[str]:
    """A line for each GPU: what fits, and the seconds of a window by each preset."""
    for name, (memory, flow_rate, wave_rate) in GPUS.items():
        windows = [Window(config, OptimizeSettings(**preset)) for preset in PRESETS.values()]
        fitting = windows[0].fitting(memory)
        fits = "does not fit" if fitting is None else f"{fitting[0]} draws, {fitting[1]:.2f} s of sound"
        piece = windows[0].settings.ode.piece_seconds if fitting is None else fitting[1]
        times = " | ".join(f"{window.total(piece).seconds(flow_rate, wave_rate):.0f}" for window in windows)
        yield f"| {name} | {flow_rate:g} / {wave_rate:g} | {fits} | {times} |"


def page() -> str:
    """The report, as Markdown."""
    config = HeartCodecConfig()
    total = f"{stored_values(config).total / 1e6:,.0f} M"
    lines = [
        "# What `heartopt optimize` costs with the released codec",
        "",
        f"Computed by `benchmarks/optimize_cost.py` for a codec of {total} values and a window of {WINDOW:g} s; "
        "not measured. The flow transformer in bfloat16, the waveform coder in float32.",
        "",
        "A step:",
        "",
        "| objective | TFLOP, transformer | TFLOP, waveform | GiB with the weights |",
        "|---|---:|---:|---:|",
        *steps(config),
        "",
        "A window, with encoding, comparing and judging. TFLOP/s are what we expect to be really done, well under the "
        "data sheets: transformer in bfloat16 / waveform coder in TF32. What fits is found by the command itself, "
        "which halves what is computed at once where memory runs out.",
        "",
        "| GPU | TFLOP/s | at once | " + " | ".join(f"seconds, {name}" for name in PRESETS) + " |",
        "|---|---:|---|" + "---:|" * len(PRESETS),
        *rows(config),
    ]
    return "\n".join(lines) + "\n"
