from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from heartopt.losses import FFT_SIZES, stft_loss
from heartopt.optimize import FlowSettings, OdeSettings, OptimizeSettings, scores
from heartopt.optimize.objective import decode_windows, flow_losses, listen
from heartopt.optimize.scores import decoded_score, flow_score, local_stft, move_codes
from heartopt.optimize.times import TimeSampler, draw_noise
from heartopt.seeding import keyed_generator

SETTINGS = OptimizeSettings(num_steps=1, moves=1, ode=OdeSettings(solver_steps=2, gradient_steps=1), seed=5)


def noise(seconds, *, seed=0):
    return 0.1 * torch.randn(2, round(48_000 * seconds), generator=torch.Generator().manual_seed(seed))


def test_the_shares_of_a_perfect_estimate_are_zero_and_one_for_each_begun_frame():
    for samples in (1, 100, 3840, 3841, 20_000):
        shares = local_stft(noise(1)[:, :samples], noise(1)[:, :samples], samples=3840)
        assert torch.equal(shares, torch.zeros(-(-samples // 3840)))


def test_the_shares_add_up_to_the_stft_loss_with_convergence_squared():
    target = noise(0.5)
    # A gain g: the convergence is 1 − g, so its square is (1 − g)²; the logarithms are −ln g apart.
    for gain in (0.5, 0.9):
        total = float(local_stft(gain * target, target, samples=3840).sum())
        assert total == pytest.approx((1 - gain) ** 2 - torch.tensor(gain).log().item(), rel=1e-3)
        whole = float(stft_loss(gain * target, target))
        assert whole == pytest.approx(1 - gain - torch.tensor(gain).log().item(), rel=1e-3)


def test_a_change_shows_where_it_is():
    target = noise(1.0)
    estimate = target.clone()
    estimate[:, 5 * 3840 + 1000 : 6 * 3840 - 1000] += noise(1.0, seed=1)[:, : 3840 - 2000]
    shares = local_stft(estimate, target, samples=3840)
    assert shares.argmax() == 5
    reach = max(FFT_SIZES) // 2  # a spectrum sees so far from its centre
    assert reach < 3840
    assert torch.equal(shares[:4], torch.zeros(4))
    assert torch.equal(shares[7:], torch.zeros(len(shares) - 7))


def test_what_two_changes_do_adds_up():
    target, both = noise(1.0), noise(1.0).clone()
    alone = []
    for place in (3, 9):
        part = slice(place * 3840, (place + 1) * 3840)
        one = target.clone()
        one[:, part] = both[:, part] = noise(1.0, seed=place)[:, part]
        alone.append(local_stft(one, target, samples=3840))
    assert_close(local_stft(both, target, samples=3840), sum(alone))


@pytest.fixture
def options(long_song, cases):
    """Three choices of codes for the free frames of the second window."""
    generator = torch.Generator().manual_seed(3)
    own = long_song.codes[:, cases[1].frames]
    return torch.stack([own, *(torch.randint(0, 128, own.shape, generator=generator) for _ in range(2))])


def test_the_flows_score_is_its_loss_under_the_same_draws_for_all(codec, cases, options):
    case, flow = cases[1], codec.flow_matching
    score = flow_score(codec, case.target, window=1, settings=SETTINGS)
    found = score(options)
    assert found.shape == (3, 4)
    generator = keyed_generator(5, "score", 1)
    draws = scores.FLOW_DRAWS
    times, _ = TimeSampler(FlowSettings(draws=draws)).draw(generator)
    drawn = draw_noise(draws, 12, 256, generator)
    for own, codes in zip(found, options, strict=True):
        mu = case.target.condition(flow, flow.code_sum(codes[None])[0]).expand(draws, -1, -1)
        expected = flow_losses(flow, [case.target] * draws, mu, times=times, noise=drawn).mean()
        assert_close(own.sum(), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(score(options), found)


def test_the_decoded_score_is_local_and_under_the_same_draws_for_all(codec, cases, options):
    case, flow = cases[1], codec.flow_matching
    score = decoded_score(codec, case.target, window=1, settings=SETTINGS)
    found = score(options[:2])
    draws = scores.DECODED_DRAWS
    drawn = draw_noise(draws, 12, 256, keyed_generator(5, "score", 1))
    for own, codes in zip(found, options[:2], strict=True):
        mu = case.target.condition(flow, flow.code_sum(codes[None])[0]).expand(draws, -1, -1)
        latents = decode_windows(
            flow,
            [case.target] * draws,
            mu,
            noise=drawn,
            picks=torch.empty(draws, 0),
            guidance_scale=1.25,
            num_steps=1,
        )
        sounds = [listen(codec, one[None], case.target) for one in latents]
        shares = [local_stft(sound, case.target.audio, samples=3840) for sound in sounds]
        assert_close(own, torch.stack(shares).mean(0), rtol=1e-4, atol=1e-5)
    assert torch.equal(score(options[:1]), found[:1])


@pytest.mark.parametrize(("objective", "number"), [("flow", 0), ("flow", 2), ("ode", 2)])
def test_moves_lower_the_score_and_leave_other_frames_alone(codec, long_song, cases, objective, number):
    case = cases[number]
    settings = replace(SETTINGS, objective=objective)
    moved = move_codes(codec, case.target, long_song.codes, case.frames, window=number, settings=settings)
    score = (flow_score if objective == "flow" else decoded_score)(codec, case.target, window=number, settings=settings)
    before, after = score(torch.stack((long_song.codes, moved))[:, :, case.frames]).sum(-1)
    assert after < before
    others = torch.ones(13, dtype=torch.bool)
    others[case.frames] = False
    assert torch.equal(moved[:, others], long_song.codes[:, others])
    assert moved.dtype == torch.int64
    assert moved.min() >= 0 and moved.max() < 128


def test_moves_are_the_same_each_time(codec, long_song, cases):
    settings = replace(SETTINGS, objective="flow")
    one, two = (
        move_codes(codec, cases[2].target, long_song.codes, cases[2].frames, window=2, settings=settings)
        for _ in range(2)
    )
    assert torch.equal(one, two)


def test_in_silence_no_sound_is_compared(codec, long_song, cases):
    target = replace(cases[0].target, audio=torch.zeros_like(cases[0].target.audio))
    moved = move_codes(codec, target, long_song.codes, cases[0].frames, window=0, settings=SETTINGS)
    assert torch.equal(moved, long_song.codes)
