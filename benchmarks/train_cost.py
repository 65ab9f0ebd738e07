"""What a training step costs with the released codec: FLOPs, memory and GPU hours, computed from its config.

`python benchmarks/pages.py` writes reports/train_cost.md. Nothing is measured here; tests hold the computation against
torch's own counters on a small codec. Memory is the weights in use, and what the gradient keeps of the forward pass; a
device needs some more.
"""

from __future__ import annotations

from collections.abc import Iterator

from heartopt.codec import HeartCodecConfig
from heartopt.codec.cost import Cost, training_cost
from heartopt.codec.cost_parts import stored_values

#: Crops of a step, seconds of a crop, gradient checkpointing: as `heartopt train` has them by default, and to save.
ROWS = (
    ("flow", 8, 29.76, False),
    ("flow", 8, 29.76, True),
    ("flow", 2, 29.76, True),
    ("bypass", 8, 5.0, False),
    ("bypass", 2, 5.0, False),
    ("ode", 8, 5.0, True),
    ("ode", 2, 5.0, True),
    ("distill", 8, 29.76, False),
)
HOURS = (400, 800)
EPOCHS = 10
TERAFLOPS = 50.0


def rows(config: HeartCodecConfig) -> Iterator[str]:
    """A line of the Markdown table for each of `ROWS`."""
    for objective, batch, seconds, checkpointing in ROWS:

        def cost(precision: str) -> Cost:
            return training_cost(
                config, objective, batch, seconds, precision=precision, checkpointing=checkpointing  # noqa: B023
            )

        single, half = cost("float32"), cost("bfloat16")
        spent = [f"{half.gpu_hours(hours, epochs=EPOCHS, teraflops=TERAFLOPS):.1f}" for hours in HOURS]
        memory = [f"{one.memory_bytes / 2**30:.1f}" for one in (single, half)]
        name = f"`{objective}`" + (", checkpointing" if checkpointing else "")
        teraflop = f"{half.flops_per_step / 1e12:.2f}"
        yield f"| {name} | {batch} × {seconds:g} s | {teraflop} | {' | '.join(memory)} | {' | '.join(spent)} |"


def page() -> str:
    """The report, as Markdown."""
    config = HeartCodecConfig()
    lines = [
        "# What training costs with the released codec",
        "",
        "Computed by `benchmarks/train_cost.py` for a codec of "
        f"{stored_values(config).total / 1e6:,.0f} M values; not measured. A `linear` projection, straight-through.",
        f"GPU hours: {EPOCHS} epochs and encoding each song once, at {TERAFLOPS:g} TFLOP/s really done "
        "(well under what a data sheet says), bfloat16. The waveform coder stays in float32: for what goes through it "
        "(`bypass`, `ode` and the encoding) that rate asks for TF32, and without it expect several times as much.",
        "",
        "| objective | batch | TFLOP a step | GiB, float32 | GiB, bfloat16 | "
        + " | ".join(f"GPU hours for {hours} h" for hours in HOURS)
        + " |",
        "|---|---|---:|---:|---:|" + "---:|" * len(HOURS),
        *rows(config),
    ]
    return "\n".join(lines) + "\n"
