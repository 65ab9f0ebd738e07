import torch
from torch.testing import assert_close

from heartopt.audio import AudioTensor
from heartopt.codec.windows import WindowPlan
from heartopt.optimize import OptimizeSettings
from heartopt.optimize.window import blends, choose, fit_window, window_target

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


def test_the_best_codes_are_kept_and_a_tie_keeps_the_start(codec):
    source, codes = long_case(codec)
    window = next(PLAN.windows(FRAMES))
    others = [torch.randint(0, 128, (4, FRAMES), generator=torch.Generator().manual_seed(n)) for n in (9, 10)]
    settings = OptimizeSettings(duration=7.44, num_steps=2)
    arguments = {"past": None, "overlap": PLAN.overlap, "settings": settings}
    forward = choose(codec, source, window, candidates=[codes, *others], **arguments)
    backward = choose(codec, source, window, candidates=[*others, codes], **arguments)
    assert_close(forward.scores[0], backward.scores[2])
    assert torch.equal(forward.codes, backward.codes)
    assert forward.scores[forward.kept] == min(forward.scores)
    tie = choose(codec, source, window, candidates=[codes, codes.clone()], **arguments)
    assert tie.kept == 0
    assert forward.past.shape == (settings.select_seeds, 2 * PLAN.overlap, 256)


def test_candidates_lie_on_the_way_from_start_to_fit_and_leave_other_frames_alone(codec):
    _, codes = long_case(codec)
    start = codec.flow_matching.code_sum(codes[None, :, 10:20])[0]
    fitted = start + torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    candidates = blends(codec, codes, slice(10, 20), start, fitted)
    assert torch.equal(candidates[-1][:, 10:20], codec.flow_matching.quantize(fitted[None]).codes[0])
    distances = [float((codec.flow_matching.code_sum(c[None, :, 10:20])[0] - fitted).norm()) for c in candidates]
    assert distances == sorted(distances, reverse=True)
    for candidate in candidates:
        assert torch.equal(candidate[:, :10], codes[:, :10])
        assert torch.equal(candidate[:, 20:], codes[:, 20:])
