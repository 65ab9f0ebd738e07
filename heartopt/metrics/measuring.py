"""Audio metrics by name, and how a pair of recordings is measured with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from heartopt.errors import ConfigError
from heartopt.metrics.loudness import LOUDNESS
from heartopt.metrics.mel import MEL
from heartopt.metrics.metric import Metric, Value
from heartopt.metrics.pair import Pair, Reference
from heartopt.metrics.perceptual import PERCEPTUAL
from heartopt.metrics.shimmer import SHIMMER
from heartopt.metrics.spectral import SPECTRAL
from heartopt.metrics.stoi import STOI
from heartopt.metrics.visqol import VISQOL
from heartopt.metrics.waveform import WAVEFORM

METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (*SPECTRAL, *MEL, *WAVEFORM, *LOUDNESS, *SHIMMER, *PERCEPTUAL, STOI, VISQOL)
}
DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if metric.default)
_GROUPS = {"default": DEFAULT_METRICS, "all": tuple(METRICS)}


def measure(estimate: Tensor, target: Tensor | Reference, metrics: Sequence[str] | None = None) -> dict[str, Value]:
    """Measure an estimate against its target, both `[C, N]` at 48 kHz, by the named `METRICS` (or `DEFAULT_METRICS`).

    Recordings over 30 s are cut into equal segments of at most 30 s whose values are averaged: memory stays
    flat, and PESQ is not made for more. A value that is NaN in some segments is averaged over the others. A
    metric whose package is missing gives "not installed". For several estimates of one song, give a `Reference`:
    its transforms are made once.

    Raises:
        AudioError: the shapes differ or are no `[C, N]`, or samples are NaN, infinite or huge.
        ConfigError: an unknown metric.
    """
    names = check_metrics(DEFAULT_METRICS if metrics is None else metrics)
    reference = target if isinstance(target, Reference) else Reference(target)
    with torch.no_grad():
        rows = [_values(make(), names) for make in reference.pairs(estimate)]
    return {name: average([row[name] for row in rows]) for name in names}


def _values(pair: Pair, names: Sequence[str]) -> dict[str, Value]:
    return {name: METRICS[name].compute(pair) for name in names}


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once; `default` and `all` stand for theirs. Raises ConfigError for one that is not known."""
    if unknown := [name for name in names if name not in METRICS and name not in _GROUPS]:
        raise ConfigError(f"unknown metric {', '.join(unknown)}: choose from {', '.join((*METRICS, *_GROUPS))}")
    return tuple(dict.fromkeys(metric for name in names for metric in _GROUPS.get(name, (name,))))


def average(values: Sequence[Value]) -> Value:
    """The mean of the numbers that are not NaN; NaN if there are none; a word ("not installed") as it is."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return next(value for value in values if isinstance(value, str))
    known = [value for value in numbers if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
