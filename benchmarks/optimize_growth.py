"""`heartopt optimize` as the song grows: time of a second of song, peak memory; and where a step's time goes.

    python benchmarks/optimize_growth.py SONG --seconds 10 60 180 600 --json reports/optimize_growth.json

The song is repeated as often as its length asks for. Each length runs in a process of its own with few steps: what is
looked at is how cost grows, not how good the tokens are. Time of a window should be the same and memory flat: the JSON
has each at the largest length over that at the smallest; where other work runs, the processor's time is the one to
read. The profile is of one window: what each part of it takes, and the rate at which a step computes, over that of a
large matrix multiplication on the same threads in the same minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from train_common import in_own_process, machine, peak_mb

from heartopt.audio import SAMPLE_RATE, AudioFile, AudioTensor, AudioWriter, read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.files import write_json, write_text
from heartopt.optimize import OptimizeSettings, optimize_file
from heartopt.optimize.objective import listen
from heartopt.optimize.phases import PHASES, Windows
from heartopt.optimize.window import choose, window_target
from heartopt.projection import default_projection, tokenize_source

QUICK = OptimizeSettings(steps=4, flow_share=0.5, num_steps=2, select_seeds=1, judge_seeds=1)
REPEATS = 5
MATRIX = 1024


def repeat_song(song: Path, path: Path, seconds: float) -> Path:
    """``seconds`` of the song, repeated, as a WAV file; in memory is one copy."""
    audio = stereo(read_audio(song))
    left = round(seconds * SAMPLE_RATE)
    with AudioWriter(path) as writer:
        while left > 0:
            piece = audio[:, :left]
            writer.write(piece)
            left -= piece.shape[-1]
    return path


def run_length(song: Path, seconds: float) -> dict[str, float]:
    """Optimize ``seconds`` of the song, from within a process of its own."""
    codec = HeartCodec.from_pretrained("mini")
    projection, loaded = default_projection(codec), peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        long = repeat_song(song, Path(folder) / "song.wav", seconds)
        began = time.process_time()
        report = optimize_file(
            long,
            stem=Path(folder) / "out",
            codec=codec,
            projection=projection,
            projection_name="mini",
            settings=QUICK,
        )
        cpu = time.process_time() - began
    return {
        "seconds": report.seconds,
        "windows": report.windows,
        "wall": report.wall_seconds,
        "rtf": report.rtf,
        "wall_a_window": report.wall_seconds / report.windows,
        "cpu_a_window": cpu / report.windows,
        "loaded_mb": loaded,
        "peak_mb": peak_mb(),
    }


def profile(song: Path) -> dict[str, Any]:
    """Median seconds of each part of the song's first window, and rates in FLOPs a second."""
    codec = HeartCodec.from_pretrained("mini")
    settings = OptimizeSettings()
    with AudioFile(song) as source:
        audio = AudioTensor(source.read(0, min(source.num_samples, 93 * 3840)))
    codes = tokenize_source(audio, codec, default_projection(codec))
    plan = codec.window_plan(settings.duration)
    window = next(plan.windows(codes.shape[-1]))
    target = window_target(codec, audio, window, codes)
    vectors = codec.flow_matching.code_sum(codes[None])[0].requires_grad_(True)
    latents = codec.encode_latents(audio.read()[None])
    windows = Windows(codec, (target,), (0,))
    flow, ode = (PHASES[name](windows, settings) for name in ("flow", "ode"))
    cheaper = PHASES["ode"](windows, replace(settings, ode=replace(settings.ode, gradient_steps=1)))
    square = torch.randn(MATRIX, MATRIX)

    def heard() -> None:
        own = latents.detach().requires_grad_(True)
        listen(codec, own, target).square().mean().backward()

    parts: dict[str, Callable[[], object]] = {
        "encoding": lambda: window_target(codec, audio, window, codes),
        "flow step": lambda: flow.draw()(vectors),
        "ode step": lambda: ode.draw()(vectors),
        "ode step, gradient through one solver step": lambda: cheaper.draw()(vectors),
        "waveform decoder, forward and back": heard,
        "quantizing": lambda: codec.flow_matching.quantize(vectors[None]),
        "comparing one candidate": lambda: choose(
            codec, target, window, candidates=[codes], past=None, overlap=plan.overlap, settings=settings
        ),
        "matrix": lambda: square @ square,
    }
    seconds = {name: _median(part) for name, part in parts.items()}
    peak = 2 * MATRIX**3 / seconds.pop("matrix")
    rates = {name: _flops(parts[name]) / seconds[name] for name in ("flow step", "ode step")}
    return {
        "seconds": seconds,
        "matrix_flops_a_second": peak,
        "share_of_matrix_rate": {name: rate / peak for name, rate in rates.items()},
    }


def _median(part: Callable[[], object]) -> float:
    part()
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        part()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _flops(part: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        part()
    return int(counter.get_total_flops())


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The longest song over the shortest: seconds a window by the clock and of the processor, and memory."""
    return {name: rows[-1][name] / rows[0][name] for name in ("wall_a_window", "cpu_a_window", "peak_mb")}


def page(record: Mapping[str, Any]) -> str:
    """The report, as Markdown. It follows from the record alone."""
    info, found, ratios = record["machine"], record["profile"], record["largest_over_smallest"]
    window = QUICK.steps
    lengths = [
        f"| {row['seconds']:g} s | {row['windows']} | {row['cpu_a_window']:.1f} | {row['wall_a_window']:.1f} | "
        f"{row['loaded_mb']:,.0f} | {row['peak_mb']:,.0f} |"
        for row in record["rows"]
    ]
    parts = [f"| {name} | {seconds:.3f} |" for name, seconds in found["seconds"].items()]
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["share_of_matrix_rate"].items())
    lines = [
        "# `heartopt optimize` as the song grows, and where its time goes",
        "",
        "Written by `benchmarks/optimize_growth.py`: regenerate it, do not edit it.",
        "",
        f"The embedded codec, {window} steps a window, {info['torch_threads']} of {info['cores']} cores "
        f"({info['processor']}), torch {info['torch']}. A window is 7.44 s, so one of 10 s has two.",
        "",
        "| song | windows | CPU seconds a window | by the clock | MB with the codec loaded | peak MB |",
        "|---:|---:|---:|---:|---:|---:|",
        *lengths,
        "",
        f"The longest song over the shortest: {ratios['cpu_a_window']:.2f} in CPU time a window, "
        f"{ratios['wall_a_window']:.2f} by the clock, {ratios['peak_mb']:.2f} in peak memory.",
        "",
        "A part of the work on one window with the defaults, medians:",
        "",
        "| part | seconds |",
        "|---|---:|",
        *parts,
        "",
        f"Of the rate of a large matrix multiplication in the same minute "
        f"({found['matrix_flops_a_second'] / 1e9:.0f} GFLOP/s): {shares}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60, 180, 600])
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        rows = []
        for seconds in sorted(given.seconds):
            rows.append(in_own_process(run_length, given.song, seconds))
            print(rows[-1], file=sys.stderr, flush=True)
        record = {"rows": rows, "largest_over_smallest": summary(rows), "profile": in_own_process(profile, given.song)}
        record = {**record, "machine": machine()}
        write_json(given.json, record)
        write_text(given.json.with_suffix(".md"), page(record))
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
