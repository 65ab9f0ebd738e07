"""What `heartopt evaluate` makes of the sounds themselves: a page to listen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from heartopt.evaluation import Evaluation, Plan

_SILENT = "silence"  # there is nothing to hear


def write_listening_page(plan: Plan, found: Evaluation, path: Path, *, songs: int, seconds: float) -> None:
    """The first `seconds` of the first `songs` by every system that has a row; tokens decoded under the first seed."""
    from heartopt.errors import ConfigError
    from heartopt.evaluation.systems import CONTROLS
    from heartopt.metrics import METRICS
    from heartopt.report.listening import Excerpt, Take, write_page

    titles = {song["file"]: str(song.get("title") or song["file"]) for song in found.songs}
    rows = {(row["file"], row["system"]): row for row in found.rows}
    excerpts = []
    for file, sounds in _sounds(plan, found, songs, seconds):
        original = sounds.pop("original")
        takes = []
        for system, audio in sounds.items():
            row = rows[file, system]
            metrics = {name: row[name] for name in row if name in METRICS}
            takes.append(Take(system, audio, metrics, row.get("tier"), control=system in CONTROLS))
        excerpts.append(Excerpt(file, titles.get(file, file), original, takes))
    if not excerpts:
        raise ConfigError("--page: there is nothing to hear; judge a system that makes a sound")
    about = f"Suite {plan.suite.name}, codec {plan.setup.codec.name}; figures are of the whole excerpts."
    write_page(excerpts, path, title=f"heartopt: {plan.suite.name}", about=about)


def beginnings(plan: Plan, seconds: float) -> Callable[[str, str | None], Tensor]:
    """Gives the first `seconds` of a file's sound by a system, `[2, n]`; None: of the song itself."""
    from heartopt.audio import SAMPLE_RATE
    from heartopt.evaluation import audio_of, original_of

    samples = round(seconds * SAMPLE_RATE)

    def sound(file: str, system: str | None) -> Tensor:
        return (original_of(plan, file) if system is None else audio_of(plan, file, system))[:, :samples]

    return sound


def _sounds(plan: Plan, found: Evaluation, songs: int, seconds: float) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each song's file, and its sounds `[2, n]` by system, `original` first; songs without a row are passed over."""
    sound = beginnings(plan, seconds)
    for file in list(dict.fromkeys(row["file"] for row in found.rows))[:songs]:
        sounds = {"original": sound(file, None)}
        for row in found.rows:
            if row["file"] == file and row["system"] != _SILENT:
                sounds[row["system"]] = sound(file, row["system"])
        if len(sounds) > 1:
            yield file, sounds
