"""Tables of what a whole suite gives: codes of all files together and by level, the Fréchet distance, the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heartopt.evaluation import Evaluation
from heartopt.evaluation.systems import CONTROLS
from heartopt.metrics import quantity
from heartopt.report.tables import MISSING, TextTable, cell, label, mean_cell, ordered, shown

_COST = ("rtf", "tokens_per_second", "kbps", "peak_mb")
_CORPUS = (
    "fad", "usage", "perplexity", "entropy", "dead", "bitrate", "repetition", "novelty", "trigram_novelty", "agreement",
)  # fmt: skip
_SONG = {
    "title": "title",
    "author": "author",
    "licence": "licence",
    "start": "start (s)",
    "seconds": "length (s)",
    "sha256": "SHA-256 of the file",
}
_HASH = 12  # digits that tell files apart
_LEVEL = ("usage", "perplexity", "entropy", "dead", "repetition", "novelty", "agreement")


def corpus_table(evaluation: Evaluation) -> TextTable | None:
    """What is counted over the whole suite: the Fréchet distance, and all codes together; None where nothing is."""
    metrics = [name for name in _CORPUS if any(name in entry for entry in evaluation.corpus)]
    if not metrics:
        return None
    rows = tuple(
        (label(entry["system"]), *(cell(entry.get(metric), metric) for metric in metrics))
        for entry in _controls_last(evaluation.corpus)
    )
    title = "Over the whole suite: Fréchet distance, codes of all files together"
    return TextTable(title, ("system", *(quantity(metric).heading for metric in metrics)), rows)


def level_table(evaluation: Evaluation) -> TextTable | None:
    """Codes of the whole suite level by level, one row a system and quantity; None where no system makes tokens."""
    levels = code_levels(evaluation.corpus)
    if not levels:
        return None
    rows = []
    for entry in _controls_last(evaluation.corpus):
        for name in _LEVEL:
            if f"{name}_{levels[0]}" in entry:
                cells = (cell(entry.get(f"{name}_{level}"), name) for level in levels)
                rows.append((label(entry["system"]), quantity(name).heading, *cells))
    return TextTable("Codes by level", ("system", "quantity", *(f"level {n}" for n in levels)), tuple(rows))


def cost_table(evaluation: Evaluation) -> TextTable | None:
    """Time, memory and bits of each system; None where nothing of it was measured."""
    metrics = shown(evaluation, _COST)
    if not metrics:
        return None
    rows = tuple(
        (label(name), *(mean_cell(evaluation, name, metric, interval=False) for metric in metrics))
        for name in ordered(evaluation)
        if name not in CONTROLS
    )
    return TextTable("Cost", ("system", *(quantity(metric).heading for metric in metrics)), rows)


def song_table(evaluation: Evaluation) -> TextTable | None:
    """What was judged: each song's length and hash, title, author and licence as far as known; None where unknown."""
    if not evaluation.songs:
        return None
    known = [key for key in _SONG if any(key in song for song in evaluation.songs)]
    rows = tuple((str(song["file"]), *(_song_cell(song, key) for key in known)) for song in evaluation.songs)
    return TextTable("Songs", ("file", *(_SONG[key] for key in known)), rows)


def _song_cell(song: Mapping[str, Any], key: str) -> str:
    value = song.get(key)
    if value is None:
        return MISSING
    return f"{value:.2f}" if isinstance(value, float) else str(value)[:_HASH] if key == "sha256" else str(value)


def code_levels(corpus: Sequence[Mapping[str, Any]]) -> list[int]:
    """Levels that any record has, from 1."""
    return sorted({int(key.rpartition("_")[2]) for entry in corpus for key in entry if _is_level(key)})


def _is_level(key: str) -> bool:
    stem, _, level = key.rpartition("_")
    return stem in _LEVEL and level.isdigit()


def _controls_last(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(records, key=lambda entry: entry["system"] in CONTROLS)
