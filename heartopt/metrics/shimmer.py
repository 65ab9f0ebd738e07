"""Shimmer: the ringing of HeartCodec's decoder at 4-8 kHz, by level and by cells that stand out."""

from __future__ import annotations

from heartopt import losses
from heartopt.metrics.metric import Metric
from heartopt.metrics.pair import Pair, Signal
from heartopt.shimmer import DeshimmerParams

_BAND = (DeshimmerParams.low, DeshimmerParams.high)  # Hz: 5.1 to 7.2 kHz


def _level(pair: Pair, band: tuple[float, float]) -> float:
    size = losses.FFT_SIZES[-1]
    return float(losses.band_ratio_of(pair.estimate.magnitude(size), pair.target.magnitude(size), band))


def _excess(pair: Pair) -> float:
    """Share of cells from 5.1 to 7.2 kHz that ring, less the target's: from -1 to 1.

    A cell rings where its level, the channels' mean, is more than 8 dB above the running median of its nine
    neighbours in frequency: what `heartopt.shimmer` finds, with the defaults.
    """
    return pair.estimate.shimmer_share - pair.target.shimmer_share


def _deshimmered(pair: Pair) -> Pair:
    """The estimate after `heartopt deshimmer`, against the target as it is."""
    cleaned: Signal = pair.estimate.deshimmered
    return Pair(cleaned, pair.target)


SHIMMER = (
    Metric(
        name="shimmer_db",
        about="Energy in 4-8 kHz over the target's",
        unit="dB",
        better="zero",
        tolerance=1.2,
        decimals=1,
        compute=lambda pair: _level(pair, losses.SHIMMER_BAND),
        range="0 is as the target; above it too bright, below too dull; silence about -90",
        source="mean square of a 2048-point STFT over channels and frames",
        sees=("noise", "gain", "shimmer"),
        blind="where the energy lies within the band and in time, and phase",
    ),
    Metric(
        name="shimmer_band_db",
        about="Energy in 5.1-7.2 kHz, where it rings most, over the target's",
        unit="dB",
        better="zero",
        tolerance=1.2,
        decimals=1,
        compute=lambda pair: _level(pair, _BAND),
        range="as `shimmer_db`",
        source="as `shimmer_db`",
        sees=("noise", "gain", "shimmer"),
        blind="as `shimmer_db`",
    ),
    Metric(
        name="shimmer_excess",
        about="Share of cells in 5.1-7.2 kHz that stand out narrowly by more than 8 dB, less the target's",
        better="zero",
        tolerance=0.002,
        decimals=3,
        compute=_excess,
        range="-1 to 1; 0 is as the target, above it the estimate rings more",
        source="`heartopt.shimmer` with its defaults",
        sees=("shimmer",),
        blind="the band's level, all outside the band, and phase; it takes harmonics for ringing, in both alike",
    ),
    Metric(
        name="shimmer_db_deshimmered",
        about="`shimmer_db` of the estimate after `heartopt deshimmer`: the B of an A/B",
        unit="dB",
        better="zero",
        tolerance=1.2,
        decimals=1,
        compute=lambda pair: _level(_deshimmered(pair), losses.SHIMMER_BAND),
        range="as `shimmer_db`",
        source="`heartopt.deshimmer` with its defaults",
        blind="as `shimmer_db`",
        default=False,
    ),
    Metric(
        name="shimmer_excess_deshimmered",
        about="`shimmer_excess` of the estimate after `heartopt deshimmer`: the B of an A/B",
        better="zero",
        tolerance=0.002,
        decimals=3,
        compute=lambda pair: _excess(_deshimmered(pair)),
        range="as `shimmer_excess`",
        source="`heartopt.deshimmer` with its defaults",
        blind="as `shimmer_excess`",
        default=False,
    ),
)
