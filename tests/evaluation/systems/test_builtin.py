from __future__ import annotations

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.evaluation.systems import SYSTEMS, Decoding, Setup, Subject
from heartopt.optimize import FlowSettings, OptimizeSettings
from heartopt.projection import EncoderProjection, encode_with_projection


@pytest.fixture
def setup(codec: HeartCodec, projection: EncoderProjection) -> Setup:
    optimize = OptimizeSettings(
        objective="flow", steps=1, flow=FlowSettings(draws=1), duration=7.44, num_steps=1, select_seeds=1
    )
    return Setup(codec, projection, Decoding(7.44, 1, 1.0), optimize, seed=0)


def subject(samples: int, index: int = 0) -> Subject:
    audio = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(index))
    return Subject(index, audio, lambda: torch.ones(2, 100))


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_system_gives_tokens_or_audio_of_the_songs_length(name: str, setup: Setup) -> None:
    song = subject(20_000)
    output = SYSTEMS[name](setup, song)
    assert (output.tokens is None) != (output.audio is None)
    if output.tokens is not None:
        assert output.tokens.shape == (8, 6) and output.tokens.dtype == torch.int64
        assert int(output.tokens.min()) >= 0 and int(output.tokens.max()) < setup.codec.config.codebook_size
    if output.audio is not None:
        assert output.audio.shape == song.target.shape and torch.isfinite(output.audio).all()


def test_projection_is_the_public_calls_tokens(setup: Setup) -> None:
    song = subject(20_000)
    assert setup.projection is not None
    expected = encode_with_projection(song.target[None], setup.codec, setup.projection)[0]
    assert torch.equal(SYSTEMS["projection"](setup, song).tokens, expected)


def test_roundtrip_is_the_scalar_model_and_long_songs_go_in_windows(setup: Setup) -> None:
    song = subject(10 * 48_000)
    found = SYSTEMS["scalar_roundtrip"](setup, song).audio
    assert found is not None
    with torch.no_grad():
        whole = setup.codec.decode_latents(setup.codec.encode_latents(song.target[None]))[0]
    # the first 6.4 s are in the first window alone, whose decoder sees all that the whole song's does
    torch.testing.assert_close(found[:, :300_000], whole[:, :300_000], rtol=1e-4, atol=1e-5)
    assert found.shape == song.target.shape


def test_random_systems_differ_from_song_to_song_and_repeat(setup: Setup) -> None:
    first, again, second = (SYSTEMS["random_codes"](setup, subject(20_000, index)).tokens for index in (0, 0, 1))
    assert first is not None and again is not None and second is not None
    assert torch.equal(first, again) and not torch.equal(first, second)
