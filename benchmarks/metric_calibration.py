"""What each metric sees: every metric under every known distortion, on the excerpts of the repository.

    python benchmarks/metric_calibration.py --output reports                     # an hour on one core: ViSQOL
    python benchmarks/metric_calibration.py --output reports --metrics stft mel  # these anew, the others as they are
    python benchmarks/metric_calibration.py --output reports --metrics           # table and picture anew, no more

Writes `metrics.json` (all values), `metrics.md` (the reference table of metrics) and `metrics.png` (a panel a metric).
The last two follow from the first alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from metric_page import draw, page
from torch import Tensor

from heartopt.audio import SAMPLE_RATE, AudioFile, stereo
from heartopt.errors import HeartoptError
from heartopt.evaluation.calibration import FAD, calibrate
from heartopt.evaluation.distortions import DISTORTIONS
from heartopt.files import write_json, write_text
from heartopt.metrics import METRICS, QUANTITIES, check_metrics
from heartopt.metrics.frechet import SpectralEmbedder

EXCERPTS = Path(__file__).parent / "suites" / "excerpts"
NOTES_FAD = {
    "range": "0 up",
    "source": "Kilgour et al., arXiv 1812.08466; here with the spectral embedder",
    "blind": "phase, stereo, delays, pitch, which song is which (here each is mixed with the next), and Opus below "
    "64 kbit/s, which keeps the spectrum",
    "sees": ("noise", "lowpass", "mp3", "quantization", "clipping", "gain", "shimmer"),
    "default": True,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of metrics.json, .md and .png")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each excerpt, from its second one on")
    parser.add_argument("--metrics", nargs="*", help="to measure; default: all, and fad")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        record = measured(given.output / "metrics.json", given.seconds, given.metrics)
        write_json(given.output / "metrics.json", record)
        record = json.loads((given.output / "metrics.json").read_text(encoding="utf-8"))
        write_text(given.output / "metrics.md", page(record))
        draw(record, given.output / "metrics.png")
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measured(path: Path, seconds: float, metrics: Sequence[str] | None) -> dict[str, Any]:
    """What is known of every metric and distortion, and the curves; those not asked for are as `path` has them."""
    names = [*METRICS, FAD.name] if metrics is None else list(metrics)
    chosen = check_metrics([name for name in names if name != FAD.name])
    songs = sorted(EXCERPTS.glob("*.flac"))
    kept = []
    if metrics is not None and path.is_file():
        old = json.loads(path.read_text(encoding="utf-8"))
        if old["settings"] == _settings(songs, seconds):
            kept = [curve for curve in old["curves"] if curve["metric"] not in names]
    curves = list(kept)
    if names:
        found = calibrate(
            [excerpt(song, seconds) for song in songs],
            chosen,
            embedder=SpectralEmbedder() if FAD.name in names else None,
            progress=lambda name: print(name, file=sys.stderr, flush=True),
        )
        curves += [{key: _rounded(value) for key, value in asdict(curve).items()} for curve in found]
    order = {name: place for place, name in enumerate([*METRICS, FAD.name])}
    return {
        "settings": _settings(songs, seconds),
        "metrics": {name: known(name) for name in order},
        "quantities": {
            name: {key: getattr(entry, key) for key in ("about", "unit", "better")}
            for name, entry in QUANTITIES.items()
            if name not in order
        },
        "distortions": {
            kind.name: {"about": kind.about, "unit": kind.unit, "strengths": kind.strengths}
            for kind in DISTORTIONS.values()
        },
        "curves": sorted(
            (curve for curve in curves if curve["metric"] in order), key=lambda curve: order[curve["metric"]]
        ),
    }


def _rounded(value: Any) -> Any:
    """Floats with six decimals: the metrics are not better than that, and the file is half as long."""
    if isinstance(value, float):
        return round(value, 6) + 0.0  # no minus before a zero
    return [_rounded(part) for part in value] if isinstance(value, (list, tuple)) else value


def known(name: str) -> dict[str, Any]:
    """What the reference table says of a metric."""
    quantity = FAD if name == FAD.name else METRICS[name]
    notes = NOTES_FAD if name == FAD.name else {key: getattr(quantity, key) for key in NOTES_FAD}
    keys = ("about", "unit", "better", "decimals", "tolerance", "heading")
    return {**{key: getattr(quantity, key) for key in keys}, **notes}


def excerpt(path: Path, seconds: float) -> Tensor:
    """Stereo `[2, N]`: so many seconds from the second second on."""
    with AudioFile(path) as audio:
        return stereo(audio.read(SAMPLE_RATE, SAMPLE_RATE + round(seconds * SAMPLE_RATE)))


def _settings(songs: Sequence[Path], seconds: float) -> dict[str, Any]:
    return {"excerpts": [song.name for song in songs], "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
