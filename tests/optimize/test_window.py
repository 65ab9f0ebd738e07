from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from heartopt.audio import AudioTensor
from heartopt.codec.windows import WindowPlan
from heartopt.losses import stft_loss
from heartopt.optimize import OptimizeSettings
from heartopt.optimize.beam import beam_codes
from heartopt.optimize.window import blend_shares, blends, choose, window_target
from heartopt.seeding import keyed_generator

SETTINGS = OptimizeSettings(num_steps=2, select_seeds=2, seed=3)


def test_targets_are_the_songs_latents_filled_as_the_decoder_fills(codec, long_song, plan):
    whole = codec.encode_latents(long_song.audio[None])[0]
    for window in plan.windows(13):
        target = window_target(codec, long_song.source, window, long_song.codes)
        # The latents are encoded in other pieces.
        assert_close(target.latents, whole[window.positions(13, 2)], rtol=1e-4, atol=1e-5)
        assert int(target.frames.sum()) == 2 * window.real
        assert int(target.context.sum()) == target.context_frames == 2 * window.context
        assert torch.equal(target.fixed, codec.flow_matching.code_sum(long_song.codes[None])[0][window.positions(13)])


def test_the_new_audio_of_all_windows_is_the_song(codec, long_song, plan):
    for audio in (long_song.audio, long_song.audio[:1]):
        pieces = [
            window_target(codec, AudioTensor(audio), window, long_song.codes).audio for window in plan.windows(13)
        ]
        assert torch.equal(torch.cat(pieces, dim=1), audio.expand(2, -1))


def test_only_new_frames_of_the_song_are_free(cases):
    first, second, third = (case.target.free for case in cases)
    assert torch.equal(first, torch.arange(6))
    assert torch.equal(second, torch.tensor([-1, -1, 0, 1, 2, 3]))
    # Two frames of context, the song's last three, and one of filling from its beginning, which is settled.
    assert torch.equal(third, torch.tensor([-1, -1, 0, 1, 2, -1]))


def test_in_a_song_shorter_than_a_window_the_copies_move_together(codec, long_song, plan):
    (window,) = plan.windows(4)
    target = window_target(codec, AudioTensor(long_song.audio[:, : 4 * 3840]), window, long_song.codes[:, :4])
    assert torch.equal(target.free, torch.tensor([0, 1, 2, 3, 0, 1]))


def test_a_song_of_one_sample_has_a_window(codec, plan):
    (window,) = plan.windows(1)
    target = window_target(codec, AudioTensor(torch.full((1, 1), 0.5)), window, torch.zeros(4, 1, dtype=torch.int64))
    assert torch.equal(target.audio, torch.full((2, 1), 0.5))
    assert torch.equal(target.free, torch.zeros(6, dtype=torch.int64))


def chosen(codec, case, candidates, *, past=None, settings=SETTINGS):
    return choose(codec, case.target, case.window, candidates=candidates, past=past, overlap=2, settings=settings)


@pytest.fixture
def candidates(long_song):
    others = [torch.randint(0, 128, (4, 13), generator=torch.Generator().manual_seed(number)) for number in (9, 10)]
    return [long_song.codes, *others]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_scores_are_the_losses_of_the_decoded_windows_under_the_selection_seeds(codec, cases, candidates, number):
    case = cases[number]
    known = 2 * case.window.context
    past = torch.rand(2, known, 256, generator=torch.Generator().manual_seed(2)) if known else None
    found = chosen(codec, case, candidates, past=past)
    wanted = []
    for codes in candidates:
        losses = []
        for seed in range(2):
            noise = torch.randn(1, 12, 256, generator=keyed_generator(3, "select", seed, number))
            context = None if past is None else past[seed : seed + 1]
            told = {"noise": noise, "context": context, "num_steps": 2, "guidance_scale": 1.25}
            audio = codec.decode_latents(codec.window_latents(codes[None], case.window, **told))[0]
            own = audio[:, known * 1920 :][:, : case.target.audio.shape[1]]
            losses.append(float(stft_loss(own, case.target.audio)))
        wanted.append(sum(losses) / 2)
    assert_close(torch.tensor(found.scores), torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert found.kept == min(range(3), key=lambda index: found.scores[index])
    assert torch.equal(found.codes, candidates[found.kept])


def test_the_kept_ones_last_latents_are_the_context_of_the_next_window(codec, cases, candidates):
    for order in (candidates, candidates[::-1]):
        found = chosen(codec, cases[0], order)
        assert found.past.shape == (2, 4, 256)
        for seed in range(2):
            noise = torch.randn(1, 12, 256, generator=keyed_generator(3, "select", seed, 0))
            told = {"noise": noise, "context": None, "num_steps": 2, "guidance_scale": 1.25}
            latents = codec.window_latents(found.codes[None], cases[0].window, **told)[0]
            assert_close(found.past[seed], latents[8:], rtol=1e-4, atol=1e-5)


def test_the_order_of_the_candidates_does_not_matter_but_in_a_tie(codec, cases, candidates):
    forward = chosen(codec, cases[1], candidates)
    backward = chosen(codec, cases[1], candidates[::-1])
    assert_close(forward.scores, backward.scores[::-1], rtol=1e-4, atol=1e-5)
    assert torch.equal(forward.codes, backward.codes)
    tie = chosen(codec, cases[1], [candidates[0], candidates[0].clone(), candidates[0].clone()])
    assert tie.kept == 0


def test_a_candidate_whose_sound_is_not_a_number_is_not_kept(codec, cases, candidates, monkeypatch):
    decode = codec.window_latents

    def spoiled(codes, window, **rest):
        bad = (codes[0] == candidates[1]).all()
        return decode(codes, window, **rest) * (float("nan") if bad else 1.0)

    monkeypatch.setattr(codec, "window_latents", spoiled)
    good = chosen(codec, cases[0], [candidates[0], candidates[2]])
    for order in ([0, 1, 2], [0, 2, 1]):
        found = chosen(codec, cases[0], [candidates[index] for index in order])
        assert torch.equal(found.codes, good.codes)


def test_candidates_lie_on_the_way_from_start_to_fit_and_leave_other_frames_alone(codec, long_song):
    start = codec.flow_matching.code_sum(long_song.codes[None, :, 4:9])[0]
    fitted = start + torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    settings = OptimizeSettings()
    found = blends(codec, long_song.codes, slice(4, 9), start, fitted, settings)
    assert len(found) == len(blend_shares(settings)) > 1
    assert torch.equal(found[-1][:, 4:9], codec.flow_matching.quantize(fitted[None]).codes[0])
    distances = [float((codec.flow_matching.code_sum(c[None, :, 4:9])[0] - fitted).norm()) for c in found]
    assert distances == sorted(distances, reverse=True)
    for share, candidate in zip(blend_shares(settings), found, strict=True):
        between = start + share * (fitted - start)
        assert torch.equal(candidate[:, 4:9], codec.flow_matching.quantize(between[None]).codes[0])
        assert torch.equal(candidate[:, :4], long_song.codes[:, :4])
        assert torch.equal(candidate[:, 9:], long_song.codes[:, 9:])


@pytest.mark.parametrize("start", ["zero", "random"])
def test_from_elsewhere_only_the_whole_way_is_a_candidate(start):
    assert blend_shares(OptimizeSettings(start=start)) == (1.0,)


def test_where_memory_runs_out_the_seeds_are_decoded_apart(codec, cases, long_song, monkeypatch):
    other = long_song.codes.flip(1)
    whole = chosen(codec, cases[0], [long_song.codes, other])
    decode, sizes = codec.window_latents, []

    def limited(codes, window, **rest):
        sizes.append(len(codes))
        if len(codes) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return decode(codes, window, **rest)

    monkeypatch.setattr(codec, "window_latents", limited)
    apart = chosen(codec, cases[0], [long_song.codes, other])
    assert 1 in sizes and torch.equal(apart.codes, whole.codes)
    assert apart.scores == pytest.approx(whole.scores, rel=1e-4)
    assert_close(apart.past, whole.past, rtol=1e-4, atol=1e-5)


def test_a_beam_searches_candidates_that_are_nearer(codec, long_song):
    start = codec.flow_matching.code_sum(long_song.codes[None])[0]
    fitted = start + torch.randn(13, 8, generator=torch.Generator().manual_seed(0))
    *_, greedy = blends(codec, long_song.codes, slice(0, 13), start, fitted, OptimizeSettings())
    *_, wide = blends(codec, long_song.codes, slice(0, 13), start, fitted, OptimizeSettings(beam=8))
    assert torch.equal(wide, beam_codes(codec.flow_matching.codebooks, fitted, width=8))
    errors = [(codec.flow_matching.code_sum(codes[None])[0] - fitted).square().sum() for codes in (greedy, wide)]
    assert errors[1] < errors[0]


class LongSong:
    """Three hours of stereo that are made where they are read."""

    channels, num_samples = 2, 3 * 3600 * 48_000
    seconds = 3 * 3600.0

    def __init__(self):
        self.read_lengths = []

    def read(self, start=0, stop=None):
        stop = self.num_samples if stop is None else min(stop, self.num_samples)
        self.read_lengths.append(stop - start)
        return torch.sin(torch.arange(start, stop) * 0.05).expand(2, -1) * 0.1


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_window_of_a_three_hour_song_takes_the_memory_of_a_window(codec):
    source, plan = LongSong(), WindowPlan.of_duration(7.44)
    codes = torch.zeros(4, 135_000, dtype=torch.int64)
    windows = list(plan.windows(135_000))
    assert len(windows) == 1688
    sizes = []
    for window in [*windows[:3], *windows[840:843], *windows[-2:]]:
        target = window_target(codec, source, window, codes)
        assert target.latents.shape == (186, 256)
        assert target.audio.shape[1] == (window.real - window.context) * 3840
        sizes.append(resident_bytes())
    most = (plan.codes + codec.scalar_model.encoder_context) * 3840
    assert max(source.read_lengths) <= most
    # The song's samples would be 4 GB; pieces of other lengths let the allocator keep some more.
    assert max(sizes[2:]) - sizes[1] < 200e6
