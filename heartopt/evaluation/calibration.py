"""Calibration: whether a metric gets worse when the sound does, distortion by distortion, on real music."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from torch import Tensor

from heartopt.evaluation.distortions import DISTORTIONS, Distortion
from heartopt.metrics import METRICS, QUANTITIES, Quantity, Reference, average, check_metrics, measure
from heartopt.metrics.frechet import Embedder, GaussianFit, frechet_distance

MONOTONE = 0.95  # Spearman's correlation from which on a metric counts as following a distortion
_DECIMALS = 6  # of a worsening: smaller changes are rounding, and have no rank
FAD = QUANTITIES["fad"]


@dataclass(frozen=True)
class Curve:
    """One quantity under one distortion of increasing strength.

    Attributes:
        metric, distortion: names.
        strengths: from the gentlest to the strongest, in the distortion's unit.
        identity: the quantity of the undistorted audio against itself.
        values: its means over the excerpts, one for each strength.
        worsening: by how much each is worse than `identity` (means over the excerpts).
        spearman: rank correlation of the mean worsening with strength, identity taken in as strength 0; NaN where
            the quantity does not move at all.
        lowest: the lowest correlation of a single excerpt.
    """

    metric: str
    distortion: str
    strengths: tuple[float, ...]
    identity: float
    values: tuple[float, ...]
    worsening: tuple[float, ...]
    spearman: float
    lowest: float

    def follows(self, tolerance: float = 0.0) -> bool:
        """Whether it gets worse with strength (Spearman of at least 0.95) and in the end by more than `tolerance`."""
        return self.spearman >= MONOTONE and self.worsening[-1] > tolerance


def calibrate(
    excerpts: Sequence[Tensor],
    metrics: Sequence[str],
    *,
    distortions: Mapping[str, Distortion] = DISTORTIONS,
    embedder: Embedder | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Curve, ...]:
    """Measure `excerpts` (stereo `[2, N]` at 48 kHz, two or more) under every distortion, strength by strength.

    The other song of an excerpt is the next one. With an embedder there are curves of `fad` over all excerpts too.
    `progress` is called with the name of each distortion before it begins.

    Raises:
        ConfigError: an unknown metric. AudioError: an excerpt of another shape.
    """
    names = check_metrics(metrics)
    targets = [Reference(audio) for audio in excerpts]
    perfect = _points(excerpts, targets, names, embedder)
    curves: list[Curve] = []
    for kind in distortions.values():
        if progress:
            progress(kind.name)
        neighbours = [*excerpts[1:], excerpts[0]]
        points = [perfect]
        for strength in kind.strengths:
            estimates = [kind.apply(a, strength, b) for a, b in zip(excerpts, neighbours, strict=True)]
            points.append(_points(estimates, targets, names, embedder))
        quantities: list[Quantity] = [METRICS[name] for name in names]
        quantities += [FAD] if embedder else []
        curves += [_curve(quantity, kind, [point[quantity.name] for point in points]) for quantity in quantities]
    return tuple(curves)


def _points(
    estimates: Sequence[Tensor], targets: Sequence[Reference], names: Sequence[str], embedder: Embedder | None
) -> dict[str, list[float]]:
    """Each quantity's values, one an excerpt; of `fad` one for all."""
    rows = [measure(estimate, target, names) for estimate, target in zip(estimates, targets, strict=True)]
    points = {name: [_number(row[name]) for row in rows] for name in names}
    if embedder:
        fits = GaussianFit(), GaussianFit()
        for estimate, target in zip(estimates, targets, strict=True):
            fits[0].add(embedder.embed(estimate))
            fits[1].add(embedder.embed(target.audio))
        points[FAD.name] = [frechet_distance(*fits)]
    return points


def _number(value: float | str) -> float:
    """NaN for a word, such as "not installed"."""
    return math.nan if isinstance(value, str) else value


def _curve(quantity: Quantity, kind: Distortion, points: Sequence[Sequence[float]]) -> Curve:
    """From the values `[strengths + 1][excerpts]`, identity first."""
    worsening = np.array(
        [[quantity.worsening(value, first) for value, first in zip(row, points[0], strict=True)] for row in points]
    )
    means = [float(_number(average(row))) for row in worsening.tolist()]
    return Curve(
        metric=quantity.name,
        distortion=kind.name,
        strengths=kind.strengths,
        identity=_number(average(points[0])),
        values=tuple(_number(average(row)) for row in points[1:]),
        worsening=tuple(means[1:]),
        spearman=_spearman(means),
        lowest=min((_spearman(column) for column in worsening.T.tolist()), key=_last_if_nan),
    )


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _spearman(worsening: Sequence[float]) -> float:
    """Spearman's rank correlation of worsening with position; NaN where nothing moves or a value is missing."""
    rounded = np.round(np.array(worsening), _DECIMALS)
    if not np.isfinite(rounded).all() or np.ptp(rounded) == 0:
        return math.nan
    return float(scipy.stats.spearmanr(np.arange(len(rounded)), rounded).statistic)
