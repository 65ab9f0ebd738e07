"""The options of `heartopt train`: the training report's, with its names and numbers, and heartopt's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heartopt.cli.options import check_finite

DATA, MODEL, OBJECTIVE, STEPS, LOSSES = "Songs", "Projection", "Objective and quantizer", "Steps", "Weights of terms"
STABILITY, WATCHING, FILES = "Stability and memory", "Validation", "Files and limits"


def _number(*flags: str, text: str, panel: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*flags, help=text, callback=check_finite, rich_help_panel=panel)
    return option


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        help="Folder of songs (searched through), or a list of them (.txt, .tsv).",
        metavar="PATH",
        rich_help_panel=DATA,
    ),
]
ValDir = Annotated[
    Path | None,
    typer.Option(
        "--val-dir",
        help="Held-out songs, in the same way; default: a tenth of the songs.",
        metavar="PATH",
        rich_help_panel=DATA,
    ),
]
OutputDir = Annotated[
    Path,
    typer.Option("--output-dir", "-o", help="Folder that is written to; made if missing.", rich_help_panel=DATA),
]
MaxDuration = Annotated[
    float | None,
    _number(
        "--max-duration",
        text="Seconds of a crop; default: 5 for bypass and ode, else the codec's window.",
        panel=DATA,
    ),
]
MaxSecondsPerSong = Annotated[
    float | None, _number("--max-seconds-per-song", text="Of each song, from its middle.", panel=DATA)
]
ProjectionType = Annotated[
    str, typer.Option("--projection-type", help="linear, conv1d or query.", rich_help_panel=MODEL)
]
HiddenDim = Annotated[int, typer.Option("--hidden-dim", min=1, help="Hidden width.", rich_help_panel=MODEL)]
LatentDim = Annotated[
    int | None,
    typer.Option(
        "--latent-dim",
        help="Width of what it reads: the codec's (the channels' mean) or twice that (stereo); default: stereo.",
        rich_help_panel=MODEL,
    ),
]
Latents = Annotated[
    str,
    typer.Option(
        "--latents", help="tanh, or pre-tanh as the training report's scripts read them.", rich_help_panel=MODEL
    ),
]
Init = Annotated[
    str,
    typer.Option(
        "--init",
        help="codebook: begin at the codebooks' mean and scale; random; or a projection to start from.",
        rich_help_panel=MODEL,
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        help="flow, bypass, ode, distill, or a mixture such as flow=1,distill=0.3.",
        rich_help_panel=OBJECTIVE,
    ),
]
Quantizer = Annotated[str, typer.Option("--quantizer", help="straight-through or gumbel.", rich_help_panel=OBJECTIVE)]
Dither = Annotated[
    float,
    _number("--dither", text="Noise before quantization, over the codebooks' deviation; it fades.", panel=OBJECTIVE),
]
TopK = Annotated[
    int, typer.Option("--top-k", min=2, help="Nearest codes that gumbel chooses from.", rich_help_panel=OBJECTIVE)
]
TempStart = Annotated[float, _number("--temp-start", text="Temperature of gumbel at the start.", panel=OBJECTIVE)]
TempEnd = Annotated[float, _number("--temp-end", text="Temperature of gumbel at the end.", panel=OBJECTIVE)]
EntropyWeight = Annotated[float, _number("--entropy-weight", text="Weight of gumbel's entropy term.", panel=OBJECTIVE)]
Revival = Annotated[
    float, _number("--revival", text="Pressure of gumbel on codes that are hardly used.", panel=OBJECTIVE)
]
DistillTokens = Annotated[
    Path | None,
    typer.Option(
        "--distill-tokens",
        help="Folder of NAME.tokens.npy, laid out as the songs: the teacher of distill.",
        metavar="DIR",
        rich_help_panel=OBJECTIVE,
    ),
]
OdeSteps = Annotated[int, typer.Option("--ode-steps", min=1, help="Euler steps of ode.", rich_help_panel=OBJECTIVE)]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Crops a batch.", rich_help_panel=STEPS)]
Accumulate = Annotated[
    int, typer.Option("--grad-accum", min=1, help="Batches an optimizer step.", rich_help_panel=STEPS)
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Length of the run in steps, or …", rich_help_panel=STEPS)
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", min=1, help="… in epochs; 100 by default.", rich_help_panel=STEPS)
]
LearningRate = Annotated[float, _number("--lr", text="Peak learning rate.", panel=STEPS)]
FindLr = Annotated[
    bool,
    typer.Option("--find-lr", help="Find the peak learning rate by a range test first.", rich_help_panel=STEPS),
]
WarmupSteps = Annotated[
    int,
    typer.Option("--warmup-steps", min=0, help="Steps up to it; at most a tenth of the run.", rich_help_panel=STEPS),
]
WeightDecay = Annotated[float, _number("--weight-decay", text="AdamW's decay.", panel=STEPS)]
CommitmentWeight = Annotated[float, _number("--commitment-weight", text="Of the commitment term.", panel=LOSSES)]
MelWeight = Annotated[float, _number("--mel-weight", text="Of the mel loss (bypass, ode).", panel=LOSSES)]
L2Weight = Annotated[float, _number("--l2-weight", text="Of the projection's mean square.", panel=LOSSES)]
IncludePhase = Annotated[
    bool, typer.Option("--include-phase", help="Add the phase loss (bypass, ode).", rich_help_panel=LOSSES)
]
HighfreqWeight = Annotated[
    float, _number("--highfreq-weight", text="Extra weight on 4-8 kHz (bypass, ode).", panel=LOSSES)
]
GradClip = Annotated[float, _number("--grad-clip", text="Bound of the gradient's norm.", panel=STABILITY)]
UseAmp = Annotated[
    bool | None,
    typer.Option("--use-amp/--no-amp", help="Mixed precision; default: on a GPU only.", rich_help_panel=STABILITY),
]
AmpDtype = Annotated[
    str | None,
    typer.Option(
        "--amp-dtype",
        help="Mixed precision in bfloat16 (default of --use-amp) or float16 (unverified).",
        rich_help_panel=STABILITY,
    ),
]
GradientCheckpointing = Annotated[
    bool,
    typer.Option("--gradient-checkpointing", help="Less memory for a third more time.", rich_help_panel=STABILITY),
]
ValInterval = Annotated[float, _number("--val-interval", text="Epochs between decoded clips.", panel=WATCHING)]
ValCrops = Annotated[
    int,
    typer.Option("--val-crops", min=1, help="Held-out crops for the flow loss.", rich_help_panel=WATCHING),
]
NumValSamples = Annotated[
    int,
    typer.Option("--num-val-samples", min=0, max=8, help="Held-out clips to decode.", rich_help_panel=WATCHING),
]
ValDetokenizeSteps = Annotated[
    int,
    typer.Option("--val-detokenize-steps", min=1, help="Euler steps of decoding them.", rich_help_panel=WATCHING),
]
ValDiffusionSteps = Annotated[
    int,
    typer.Option("--val-diffusion-steps", hidden=True, help="No effect, as in the training report's script."),
]
Deshimmer = Annotated[
    bool,
    typer.Option("--deshimmer", help="Keep each clip without its shimmer, too.", rich_help_panel=WATCHING),
]
SaveInterval = Annotated[float, _number("--save-interval", text="Epochs between kept checkpoints.", panel=FILES)]
Keep = Annotated[int, typer.Option("--keep", min=1, help="How many of them stay.", rich_help_panel=FILES)]
Resume = Annotated[
    str | None, typer.Option("--resume", help="auto, or a checkpoint to go on from.", rich_help_panel=FILES)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Start anew in a folder that holds a run.", rich_help_panel=FILES)
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir", help="Of latents; default $HEARTOPT_CACHE or ~/.cache/heartopt.", rich_help_panel=FILES
    ),
]
CacheSize = Annotated[float, _number("--cache-size", text="GB that it may hold.", panel=FILES)]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no latents beyond this run.", rich_help_panel=FILES)]
NumWorkers = Annotated[
    int, typer.Option("--num-workers", min=0, help="Threads that read ahead.", rich_help_panel=FILES)
]
Budget = Annotated[float | None, _number("--budget", text="Seconds after which the run saves and stops.", panel=FILES)]
