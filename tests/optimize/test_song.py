import pytest
import torch

from heartopt import EncoderProjection, optimize_tokens
from heartopt.audio import AudioTensor
from heartopt.errors import AudioError, TokenError
from heartopt.optimize import OptimizeSettings, optimize_source, optimize_steps

QUICK = {"duration": 7.44, "draws": 1, "num_steps": 1, "select_seeds": 1}


def long_song():
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(2, 100 * 3840, generator=generator)


def test_every_window_is_fitted_and_the_same_seed_gives_the_same_tokens(codec):
    audio, start = long_song(), torch.zeros(4, 100, dtype=torch.int64)
    settings = OptimizeSettings(steps=3, **QUICK)
    seen = []
    one = optimize_source(AudioTensor(audio), codec, start, settings=settings, progress=seen.append)
    two = optimize_tokens(audio[None], codec, start, settings=settings)
    assert [(p.window, p.step) for p in seen] == [(w, s) for w in range(2) for s in (1, 2, 3)]
    assert {(p.windows, p.steps) for p in seen} == {(2, 3)}
    assert torch.equal(one.tokens, two.tokens)
    assert one.losses == two.losses
    assert one.tokens.shape == start.shape
    assert one.codes_changed == int((one.tokens != start).sum())
    assert torch.equal(start, torch.zeros_like(start))


def test_codes_change_only_where_the_result_was_better(codec):
    result = optimize_tokens(
        long_song()[None], codec, torch.zeros(4, 100, dtype=torch.int64), settings=OptimizeSettings(steps=3, **QUICK)
    )
    changed = (result.tokens != 0).any(0)
    assert changed[:93].any() == result.windows[0].improved
    assert changed[93:].any() == result.windows[1].improved


def test_no_steps_keep_the_start_or_its_requantization(codec, audio):
    start = torch.randint(0, 128, (4, 13), generator=torch.Generator().manual_seed(0))
    result = optimize_tokens(audio[None], codec, start, settings=OptimizeSettings(steps=0, **QUICK))
    assert result.losses == ((),)
    again = codec.flow_matching.quantize(codec.flow_matching.code_sum(start[None])).codes[0]
    assert torch.equal(result.tokens, again if result.windows[0].improved else start)


def test_it_works_inside_inference_mode(codec, audio):
    with torch.inference_mode():
        result = optimize_tokens(
            audio[None], codec, torch.zeros(4, 13, dtype=torch.int64), settings=OptimizeSettings(steps=2, **QUICK)
        )
    assert len(result.losses[0]) == 2


def test_more_than_one_song_is_refused(codec, audio):
    with pytest.raises(AudioError, match="one song"):
        optimize_tokens(audio, codec, torch.zeros(4, 13, dtype=torch.int64))


def test_a_projection_is_a_start(codec, audio):
    projection = EncoderProjection(256, 64, 64).eval()
    result = optimize_tokens(audio[None], codec, projection, settings=OptimizeSettings(steps=1, **QUICK))
    assert result.start_tokens.shape == (4, 13)


def test_a_budget_becomes_steps_that_give_the_same_tokens(codec, audio):
    start = torch.zeros(4, 13, dtype=torch.int64)
    timed = optimize_tokens(audio[None], codec, start, settings=OptimizeSettings(budget=0.05, **QUICK))
    assert timed.steps >= 1
    counted = optimize_tokens(audio[None], codec, start, settings=OptimizeSettings(steps=timed.steps, **QUICK))
    assert torch.equal(timed.tokens, counted.tokens)


def test_the_steps_come_one_by_one(codec, audio):
    steps = optimize_steps(
        AudioTensor(audio), codec, torch.zeros(4, 13, dtype=torch.int64), OptimizeSettings(steps=100, **QUICK)
    )
    assert next(steps).step == 1
    assert next(steps).step == 2


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(4, 12, dtype=torch.int64), r"\[4, 13\]"),
        (torch.zeros(4, 13), r"\[4, 13\]"),
        (torch.full((4, 13), 128), "0 to 127"),
        (torch.full((4, 13), -1), "0 to 127"),
    ],
)
def test_start_tokens_that_are_not_the_songs_are_refused(codec, audio, start, message):
    with pytest.raises(TokenError, match=message):
        optimize_tokens(audio[None], codec, start)
