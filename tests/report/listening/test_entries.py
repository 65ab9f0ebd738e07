"""What the script gets: gains, headroom, FLACs that can be decoded, pictures."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile
import torch

from heartopt.report.listening import Excerpt, Take
from heartopt.report.listening.entries import ANCHOR, excerpt_entry
from heartopt.report.listening.takes import checked


def noise(seed: int, level: float) -> torch.Tensor:
    return level * (2 * torch.rand(2, 24_000, generator=torch.Generator().manual_seed(seed)) - 1)


def entry(*takes: Take, anchor: bool = False, level: float = 0.1):  # type: ignore[no-untyped-def]
    (excerpt,) = checked([Excerpt("a.wav", "A", noise(0, level), takes)])
    return excerpt_entry(excerpt, 3, anchor=anchor)


def samples(flacs: dict[str, str], name: str) -> np.ndarray:
    audio, _ = soundfile.read(io.BytesIO(base64.b64decode(flacs[name])), always_2d=True)
    return np.asarray(audio.T)


def test_sounds_come_in_order_with_their_roles() -> None:
    takes = (Take("one", noise(1, 0.1), {}, "Good"), Take("two", noise(2, 0.1), {}, control=True))
    record, flacs = entry(*takes, anchor=True)
    assert [(sound["system"], sound["role"], sound["tier"]) for sound in record["sounds"]] == [
        ("Original", "original", None),
        ("one", "system", "Good"),
        ("two", "control", None),
        (ANCHOR, "anchor", None),
    ]
    assert [sound["flac"] for sound in record["sounds"]] == list(flacs) == [f"flac-3-{index}" for index in range(4)]
    assert (record["name"], record["title"], record["samples"]) == ("a.wav", "A", 24_000)
    assert [bool(sound["picture"]) for sound in record["sounds"]] == [True, True, True, False]
    np.testing.assert_allclose(samples(flacs, "flac-3-1"), takes[0].audio.numpy(), atol=1 / 32768)


def test_gains_match_levels() -> None:
    record, _ = entry(Take("quiet", noise(0, 0.05), {}), Take("loud", noise(0, 0.2), {}))
    gains = [sound["gain_db"] for sound in record["sounds"]]
    assert gains == pytest.approx([0, 6.02, -6.02], abs=0.01)
    assert record["headroom"] == 1


def test_nothing_clips_matched_or_not() -> None:
    """A take beyond full scale, and one that matching lifts beyond it."""
    spike = noise(1, 0.02)
    spike[0, 100] = 0.9
    record, flacs = entry(Take("over", noise(0, 2.5), {}), Take("spike", spike, {}), level=0.3)
    assert record["sounds"][1]["scale"] == pytest.approx(2.5, rel=0.01)
    for sound in record["sounds"]:
        peak = np.abs(samples(flacs, sound["flac"])).max() * sound["scale"] * record["headroom"]
        assert peak <= 1.001
        assert peak * 10 ** (sound["gain_db"] / 20) <= 1.001
    assert record["headroom"] < 1


def test_silence_has_a_picture_too() -> None:
    record, _ = entry(Take("silence", torch.zeros(2, 24_000), {}), level=0.0)
    assert all(sound["picture"].startswith("data:image/png;base64,") for sound in record["sounds"])
    assert [sound["gain_db"] for sound in record["sounds"]] == [0, 0]
