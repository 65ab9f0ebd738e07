"""An evaluation's pictures as files: which there are, what each shows in words, and drawing them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from heartopt.errors import HeartoptError
from heartopt.evaluation import Evaluation
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics.tiers import TIER_METRIC
from heartopt.report.charts import (
    coded,
    codes_figure,
    qualities,
    rate_figure,
    spots,
    tier_entries,
    tier_figure,
    time_figure,
)
from heartopt.report.figures import need_matplotlib, save_figure
from heartopt.report.spectrograms import draw_sounds
from heartopt.report.tables import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A file's sound by a system, `[2, N]`; None: the song itself.
Sounds = Callable[[str, str | None], Tensor]
#: The setting that says which song's spectrograms were drawn.
SPECTROGRAMS = "spectrograms"


@dataclass(frozen=True)
class Picture:
    """A picture of rows: what it shows, drawing it, and whether the rows are enough for it."""

    words: Callable[[Evaluation], str]
    make: Callable[[Evaluation], Figure]
    there: Callable[[Evaluation], bool]


@dataclass(frozen=True)
class Heard:
    """A song and the systems whose sounds of it are worth comparing; `start` None where there is but one."""

    file: str
    start: str | None
    result: str

    @property
    def words(self) -> str:
        systems = f"{self.start}, {self.result}" if self.start else self.result
        return (
            f"Spectrograms of {self.file}: the original, {systems}, and the difference between {self.result} and the "
            "original, the shimmer band marked"
        )


def applicable(evaluation: Evaluation, stem: str) -> dict[str, str]:
    """The pictures that there are: file name -> what it shows, for who does not see it."""
    found = {name: picture.words(evaluation) for name, picture in PICTURES.items() if picture.there(evaluation)}
    if drawn := evaluation.settings.get(SPECTROGRAMS):
        found[SPECTROGRAMS] = _heard(drawn).words
    return {f"{stem}.{name}.png": words for name, words in found.items()}


def _heard(drawn: Any) -> Heard:
    try:
        return Heard(**drawn)
    except TypeError as error:
        raise HeartoptError(f"damaged report: its setting {SPECTROGRAMS} is {drawn!r}") from error


def draw_report(evaluation: Evaluation, folder: Path, stem: str) -> list[Path]:
    """Draw what rows are enough for into PNG files `STEM.NAME.png` in `folder`, each atomically.

    Raises:
        HeartoptError: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    need_matplotlib("a report's pictures")
    paths = []
    for name, picture in PICTURES.items():
        if picture.there(evaluation):
            paths.append(folder / f"{stem}.{name}.png")
            save_figure(picture.make(evaluation), paths[-1], rows=digest_of(evaluation))
    return paths


def draw_heard(evaluation: Evaluation, sounds: Sounds, heard: Heard, path: Path) -> None:
    """Draw a song's spectrograms into the PNG file `path`, atomically.

    Raises:
        HeartoptError: matplotlib is not installed, or a sound cannot be had.
        OutputError: `path` cannot be written.
    """
    systems = [system for system in (heard.start, heard.result) if system]
    found = {"original": sounds(heard.file, None), **{system: sounds(heard.file, system) for system in systems}}
    draw_sounds(path, title=heard.file, sounds=found, rows=digest_of(evaluation))


def choose_heard(evaluation: Evaluation) -> Heard | None:
    """What to show spectrograms of: two systems, and the file where the second's `stft` is worst; None: of nothing.

    They are the first two that make tokens, or that are no controls where none does: first of them the one that others
    are held against.
    """
    rows = [row for row in evaluation.rows if row["system"] not in CONTROLS]
    rows = [row for row in rows if math.isfinite(row.get(TIER_METRIC, math.nan))]
    rows = [row for row in rows if "usage" in row] or rows
    systems = sorted(dict.fromkeys(row["system"] for row in rows), key=lambda system: system != evaluation.against)[:2]
    files = {system: {row["file"] for row in rows if row["system"] == system} for system in systems}
    shared = set.intersection(*files.values()) if files else set()
    if not shared:
        return None
    own = [row for row in rows if row["system"] == systems[-1] and row["file"] in shared]
    worst = max(own, key=lambda row: float(row[TIER_METRIC]))
    return Heard(worst["file"], systems[0] if len(systems) > 1 else None, systems[-1])


def digest_of(evaluation: Evaluation) -> str:
    """The SHA-256 of what was measured: a picture says in its metadata which rows it was drawn from."""
    record = evaluation.to_json()
    measured: dict[str, Any] = {key: record[key] for key in ("suite", "rows", "corpus", "against")}
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def _tier_words(evaluation: Evaluation) -> str:
    found = (f"{label(entry.system)} {entry.mean:.2f} ({entry.tier})" for entry in tier_entries(evaluation))
    return f"Mean {TIER_METRIC} of each system with its interval, over the shaded tiers: {', '.join(found)}"


def _against_words(evaluation: Evaluation, across: str, words: str) -> str:
    systems = ", ".join(spot.system for spot in spots(evaluation, across, TIER_METRIC))
    return f"{' and '.join(qualities(evaluation))} against {words}, with intervals and the best control: {systems}"


def _codes_words(evaluation: Evaluation) -> str:
    systems = ", ".join(label(entry["system"]) for entry in coded(evaluation))
    return f"Share of the codebook used and perplexity, level by level, all files together: {systems}"


def _bitrates(evaluation: Evaluation) -> int:
    return len({spot.across for spot in spots(evaluation, "kbps", TIER_METRIC)})


PICTURES: Mapping[str, Picture] = {
    "tiers": Picture(_tier_words, tier_figure, lambda found: bool(tier_entries(found))),
    "rate": Picture(
        lambda found: _against_words(found, "kbps", "kbit/s"), rate_figure, lambda found: _bitrates(found) > 1
    ),
    "time": Picture(
        lambda found: _against_words(found, "rtf", "seconds for a second of audio"),
        time_figure,
        lambda found: len(spots(found, "rtf", TIER_METRIC)) > 1,
    ),
    "codes": Picture(_codes_words, codes_figure, lambda found: bool(coded(found))),
}

