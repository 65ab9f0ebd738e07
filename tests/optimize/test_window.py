import torch
from torch.testing import assert_close

from heartopt.audio import AudioTensor
from heartopt.codec.windows import WindowPlan
from heartopt.optimize import OptimizeSettings
from heartopt.optimize.window import choose, fit_window, window_target

FRAMES = 100  # two windows of 93 codes, the second one short
PLAN = WindowPlan.of_duration(7.44)


def long_case(codec):
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(2, FRAMES * 3840 - 100, generator=generator)
    return AudioTensor(audio), torch.randint(0, 128, (4, FRAMES), generator=generator)


def test_targets_are_the_songs_latents_filled_as_the_decoder_fills(codec):
    source, codes = long_case(codec)
    whole = codec.encode_latents(source.read()[None])[0]
    for window in PLAN.windows(FRAMES):
        target = window_target(codec, source, window, codes)
        assert_close(target.latents, whole[window.positions(FRAMES, 2)], rtol=1e-4, atol=1e-5)
        assert int(target.frames.sum()) == 2 * window.real
        assert int(target.context.sum()) == 2 * window.context


def test_only_new_frames_of_the_song_are_free(codec):
    source, codes = long_case(codec)
    first, second = (window_target(codec, source, window, codes) for window in PLAN.windows(FRAMES))
    assert torch.equal(first.free, torch.arange(93))
    # 13 frames of context, then the song's last 7, then the filling from its beginning, which is settled.
    assert torch.equal(second.free[:20], torch.tensor([-1] * 13 + list(range(7))))
    assert (second.free[20:] == -1).all()
    vectors = codec.flow_matching.code_sum(codes[None])[0]
    assert_close(second.fixed[:13], vectors[80:93])
    assert_close(second.fixed[20:], vectors[:73])


def test_in_a_song_shorter_than_a_window_the_copies_move_together(codec, audio):
    codes = torch.zeros(4, 13, dtype=torch.int64)
    (window,) = PLAN.windows(13)
    target = window_target(codec, AudioTensor(audio), window, codes)
    assert torch.equal(target.free, torch.arange(93) % 13)


def test_fitting_lowers_the_loss_and_is_repeatable(codec, audio):
    codes = torch.zeros(4, 13, dtype=torch.int64)
    (window,) = PLAN.windows(13)
    target = window_target(codec, AudioTensor(audio), window, codes)
    start = codec.flow_matching.code_sum(codes[None])[0]
    settings = OptimizeSettings(steps=25, draws=2, duration=7.44)
    one, two = (list(fit_window(codec, target, start, window=0, settings=settings)) for _ in range(2))
    assert [record.loss for record in one] == [record.loss for record in two]
    assert torch.equal(one[-1].e, two[-1].e)
    losses = torch.tensor([record.loss for record in one])
    assert losses[-5:].mean() < losses[:5].mean()


def test_the_better_codes_are_kept_and_a_tie_keeps_the_start(codec):
    source, codes = long_case(codec)
    window = next(PLAN.windows(FRAMES))
    other = torch.randint(0, 128, (4, FRAMES), generator=torch.Generator().manual_seed(9))
    settings = OptimizeSettings(duration=7.44, num_steps=2)
    arguments = {"past": None, "overlap": PLAN.overlap, "settings": settings}
    forward = choose(codec, source, window, start=codes, result=other, **arguments)
    backward = choose(codec, source, window, start=other, result=codes, **arguments)
    assert_close(forward.start, backward.result)
    assert torch.equal(forward.codes, backward.codes)
    assert forward.improved != backward.improved
    tie = choose(codec, source, window, start=codes, result=codes.clone(), **arguments)
    assert not tie.improved
    assert forward.past.shape == (settings.select_seeds, 2 * PLAN.overlap, 256)
