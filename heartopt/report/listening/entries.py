"""What the page's script works on: each excerpt's sounds, their gains, FLACs and pictures."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from heartopt.report.listening import picture, sound
from heartopt.report.listening.takes import ORIGINAL, Excerpt

ANCHOR = "3.5 kHz low-pass"


@dataclass(frozen=True)
class Entry:
    """A sound that the page plays.

    Attributes:
        system: its name.
        role: "original", "system", "control" or "anchor".
        tier: the word, None for none.
        gain_db: makes it as loud as the original.
        apart_db: by how much it is louder than the original all the same; None where either has no loudness.
        scale: undoes the scaling of what was beyond full scale.
        flac: the id under which the page keeps its FLAC.
        outline: the waveform's outline in base64.
        picture: the spectrogram as a data URI; "" for the anchor, which is only heard blind.
    """

    system: str
    role: str
    tier: str | None
    gain_db: float
    apart_db: float | None
    scale: float
    flac: str
    outline: str
    picture: str


def excerpt_entry(excerpt: Excerpt, number: int, *, anchor: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """One excerpt for the page's script, and its FLACs in base64 by id.

    Its `headroom` is a factor on all of its sounds, at most 1: with it none clips, matched or not.
    """
    original = excerpt.original
    parts: list[tuple[str, str, str | None, Tensor]] = [(ORIGINAL, "original", None, original)]
    parts += [(take.system, "control" if take.control else "system", take.tier, take.audio) for take in excerpt.takes]
    if anchor:
        parts.append((ANCHOR, "anchor", None, sound.low_anchor(original)))
    gains = [sound.matching_gain(audio, original) for *_, audio in parts]
    factors = [float(10 ** (gain / 20)) for gain, _ in gains]
    peaks = [sound.peak(part[-1]) * max(1.0, factor) for part, factor in zip(parts, factors, strict=True)]
    headroom = 1 / max(1.0, *peaks)
    loudest = float(picture.level_db(original).max())
    entries, flacs = [], {}
    for index, (system, role, tier, audio) in enumerate(parts):
        name = f"flac-{number}-{index}"
        flac = sound.to_flac(audio)
        flacs[name] = base64_of(flac.data)
        matched = audio * factors[index]
        drawn = "" if role == "anchor" else _spectrogram(matched, loudest)
        outline = base64_of(picture.outline(matched, headroom))
        gain, apart = gains[index]
        apart = None if apart is None else round(apart, 2) + 0.0  # + 0.0: no minus before a zero
        entries.append(Entry(system, role, tier, round(gain, 2), apart, flac.scale, name, outline, drawn))
    record = {
        "name": excerpt.name,
        "title": excerpt.title,
        "samples": original.shape[-1],
        "headroom": headroom,
        "sounds": [asdict(entry) for entry in entries],
    }
    return record, flacs


def _spectrogram(audio: Tensor, loudest: float) -> str:
    grey = picture.to_grey(picture.level_db(audio), loudest)
    return f"data:image/png;base64,{base64_of(picture.to_png(grey))}"


def base64_of(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode("ascii")
