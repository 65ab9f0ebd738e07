"""Everything that a report may show: audio metrics, statistics of codes, cost, figures of a whole suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from heartopt.metrics.measuring import METRICS
from heartopt.metrics.quantity import Quantity

#: Of codes: they describe. Random codes use every entry, so none of them is a sign of quality by itself.
CODES = (
    Quantity("usage", "Share of the codebook's entries that are used, mean over levels", "share", decimals=3),
    Quantity("perplexity", "2 to the entropy of the codes' frequencies, mean over levels", "codes", decimals=1),
    Quantity("entropy", "Entropy of the codes' frequencies, mean over levels", "bits"),
    Quantity("dead", "Entries that are never used, sum over levels", "codes", decimals=0),
    Quantity("bitrate", "What the codes' frequencies alone would cost, coded ideally", "bit/s", decimals=0),
    Quantity("repetition", "Share of frames whose codes all equal the frame's before", "share", decimals=3),
    Quantity("novelty", "Share of pairs of neighbouring frames that occur for the first time", "share", decimals=3),
    Quantity("trigram_novelty", "The same of three neighbouring frames", "share", decimals=3),
    Quantity("agreement", "Share of codes that the system compared with has too, mean over levels", "share", None, 3),
)
#: What a system costs. Times hang on the machine.
COST = (
    Quantity("rtf", "Seconds to make the tokens for a second of audio", "×", "lower", decimals=3),
    Quantity("seconds", "Length of the audio", "s", decimals=1),
    Quantity("wall_seconds", "Time to make the tokens; it grows with the audio", "s"),
    Quantity("tokens_per_second", "Tokens made in a second", "1/s", "higher", decimals=0),
    Quantity("peak_mb", "Peak memory of the process while they were made", "MB", "lower", decimals=0),
    Quantity("kbps", "Bits of a second of audio: nominal for tokens, the stream's for other codecs", "kbit/s", "lower"),
)
#: Of a suite as a whole.
SUITE = (Quantity("fad", "Fréchet audio distance to the originals, over the suite", "", "lower", 3, 0.02),)

QUANTITIES: Mapping[str, Quantity] = {**METRICS, **{entry.name: entry for entry in (*CODES, *COST, *SUITE)}}


def quantity(name: str) -> Quantity:
    """The quantity of that name; `usage_3` is `usage` of level 3, and an unknown one only describes."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    stem, _, level = name.rpartition("_")
    if stem in QUANTITIES and level.isdigit():
        return replace(QUANTITIES[stem], name=name, about=f"{QUANTITIES[stem].about.split(',')[0]}, level {level}")
    return Quantity(name, name)
