from __future__ import annotations

import dataclasses
import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from heartopt.audio import AudioFile
from heartopt.errors import ConfigError
from heartopt.evaluation.calibration import FAD, MONOTONE, Curve, calibrate
from heartopt.evaluation.distortions import DISTORTIONS, Distortion
from heartopt.metrics import METRICS
from heartopt.metrics.frechet import SpectralEmbedder
from heartopt.metrics.metric import EVERY_DISTORTION

EXCERPTS = Path(__file__).parents[2] / "benchmarks" / "suites" / "excerpts"
QUICK = tuple(name for name in METRICS if name != "visqol")  # a second of audio costs it two
PLAIN = tuple(name for name in QUICK if not name.endswith("_deshimmered"))  # those change the estimate, not the target
#: What a recording scores against itself where more is better; elsewhere it is 0.
PERFECT = {"si_sdr": 100, "pesq_wb": 4.644, "pesq_nb": 4.549, "stoi": 1, "visqol": 4.732, "si_sdr_aligned": 100}


def music(seconds: float) -> list[Tensor]:
    found = []
    for name in ("a-new-journey", "nebula"):
        with AudioFile(EXCERPTS / f"{name}.flac") as audio:
            found.append(audio.read(96_000, 96_000 + round(seconds * 48_000)))
    return found


@lru_cache(maxsize=1)
def curves() -> dict[tuple[str, str], Curve]:
    """Every metric but ViSQOL under every distortion, every second strength, the strongest among them."""
    thin = {
        name: dataclasses.replace(kind, strengths=kind.strengths[::-2][::-1]) for name, kind in DISTORTIONS.items()
    }
    found = calibrate(music(1.0), QUICK, distortions=thin)
    return {(curve.metric, curve.distortion): curve for curve in found}


@pytest.mark.parametrize("name", PLAIN)
def test_identity_is_perfect(name: str) -> None:
    metric = METRICS[name]
    found = [curve for (metric_name, _), curve in curves().items() if metric_name == name]
    assert len(found) == len(DISTORTIONS)
    assert found[0].identity == pytest.approx(PERFECT.get(name, 0), abs=1e-3)
    assert (name in PERFECT) == (metric.better == "higher")
    slightly = max(metric.tolerance, 1e-6)
    assert all(worse >= -slightly for curve in found for worse in curve.worsening), "nothing beats a perfect copy"


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in QUICK for kind in METRICS[name].sees])
def test_a_metric_follows_what_it_is_meant_to_see(name: str, kind: str) -> None:
    curve = curves()[name, kind]
    assert curve.follows(METRICS[name].tolerance), curve


def test_metrics_name_distortions_that_there_are() -> None:
    assert tuple(DISTORTIONS) == EVERY_DISTORTION
    assert {kind for metric in METRICS.values() for kind in metric.sees} <= set(EVERY_DISTORTION)


def test_every_distortion_is_seen_by_some_metric_and_every_metric_sees_some() -> None:
    assert all(any(kind in metric.sees for metric in METRICS.values()) for kind in DISTORTIONS)
    assert all(METRICS[name].sees for name in PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("kind", METRICS["visqol"].sees)
def test_visqol_follows_what_it_is_meant_to_see(kind: str) -> None:
    chosen = DISTORTIONS[kind]
    thin = {kind: dataclasses.replace(chosen, strengths=chosen.strengths[::-2][::-1])}
    curve = calibrate(music(1.2), ["visqol"], distortions=thin)[0]
    assert curve.identity == pytest.approx(PERFECT["visqol"], abs=1e-3)
    assert curve.follows(METRICS["visqol"].tolerance), curve


def scaled(audio: Tensor, strength: float, other: Tensor) -> Tensor:
    return audio * 10 ** (strength / 20)


def test_curves_are_means_over_excerpts_in_the_distortions_order() -> None:
    songs = [torch.randn(2, 48_000, generator=torch.Generator().manual_seed(seed)) * 0.1 for seed in (0, 1)]
    kinds = {"up": Distortion("up", "louder", "dB", (2.0, 4.0, 6.0), scaled)}
    curve = calibrate(songs, ["mel"], distortions=kinds)[0]
    assert (curve.metric, curve.distortion, curve.strengths) == ("mel", "up", (2, 4, 6))
    assert curve.values == pytest.approx((0.1, 0.2, 0.3), abs=1e-3)  # mel distance is in decades
    assert curve.worsening == curve.values and curve.identity == 0
    assert curve.spearman == 1 == curve.lowest
    assert curve.follows(0.29) and not curve.follows(0.31)
    back = {"back": Distortion("back", "softer, then not", "dB", (-6.0, -3.0, 0.0), scaled)}
    assert not calibrate(songs, ["mel"], distortions=back)[0].spearman >= MONOTONE


def test_what_does_not_move_has_no_correlation() -> None:
    songs = music(0.5)
    kinds = {"gain": dataclasses.replace(DISTORTIONS["gain"], strengths=(-6.0, -12.0))}
    curve = calibrate(songs, ["si_sdr"], distortions=kinds)[0]
    assert math.isnan(curve.spearman) and not curve.follows()


def test_the_corpus_distance_is_blind_to_songs_that_change_places() -> None:
    kinds = {name: dataclasses.replace(DISTORTIONS[name], strengths=(0.5, 1.0)) for name in ("other_song",)}
    kinds["noise"] = dataclasses.replace(DISTORTIONS["noise"], strengths=(-40.0, -20.0))
    found = calibrate(music(2), [], distortions=kinds, embedder=SpectralEmbedder())
    swapped, noise = found
    assert swapped.metric == noise.metric == FAD.name
    assert swapped.values[1] < swapped.values[0], "each song is now the other, and the corpus is as it was"
    assert noise.spearman == 1 and noise.identity == pytest.approx(0, abs=1e-9)


def test_progress_is_told_and_unknown_metrics_are_refused() -> None:
    told: list[str] = []
    kinds = {"gain": dataclasses.replace(DISTORTIONS["gain"], strengths=(-6.0,))}
    calibrate(music(0.2), ["mel"], distortions=kinds, progress=told.append)
    assert told == ["gain"]
    with pytest.raises(ConfigError, match="unknown metric loudest"):
        calibrate(music(0.2), ["loudest"])
