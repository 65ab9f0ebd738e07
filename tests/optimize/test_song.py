import itertools
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from heartopt import EncoderProjection, optimize_tokens
from heartopt.audio import AudioTensor
from heartopt.codec.windows import WindowPlan
from heartopt.errors import AudioError, HeartoptError, TokenError
from heartopt.losses import stft_loss
from heartopt.optimize import (
    FlowSettings,
    OdeSettings,
    OptimizeSettings,
    optimize_source,
    optimize_steps,
    phases,
)
from heartopt.optimize import budget as budget_module
from heartopt.optimize import song as song_module
from heartopt.optimize.journal import Journal
from heartopt.seeding import keyed_generator

pytestmark = [
    pytest.mark.usefixtures("plan"),
    # A schedule that steps where its optimizer did not is meant.
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step"),
]
QUICK = {
    "objective": "flow",
    "steps": 3,
    "flow": FlowSettings(draws=2, learning_rate=0.1),
    "ode": OdeSettings(solver_steps=1, gradient_steps=1, learning_rate=0.1),
    "num_steps": 1,
    "select_seeds": 1,
    "seed": 4,
}
# The free frames of the song's two windows.
SPANS = (slice(0, 6), slice(6, 9))


def told(**rest):
    return OptimizeSettings(**{**QUICK, **rest})


def result_of(steps):
    """Run to the end: the records and the result."""
    records = []
    while True:
        try:
            records.append(next(steps))
        except StopIteration as end:
            return records, end.value


def assert_same(one, two):
    assert torch.equal(one.tokens, two.tokens)
    assert torch.equal(one.start_tokens, two.start_tokens)
    assert (one.windows, one.curves, one.notes, one.steps) == (two.windows, two.curves, two.notes, two.steps)


@pytest.fixture(scope="module")
def whole(codec, song):
    """What `told()` makes of the song."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "window_plan", lambda duration=None: WindowPlan(6, 4))
        return optimize_source(song.source, codec, song.codes, settings=told())


def test_every_window_is_fitted_and_the_same_seed_gives_the_same_tokens(codec, song):
    start, settings, seen = song.codes.clone(), told(objective="hybrid"), []
    one = optimize_source(song.source, codec, start, settings=settings, progress=seen.append)
    two = optimize_tokens(song.audio[None], codec, start, settings=settings)
    assert [(p.window, p.step) for p in seen] == [(w, s) for w in range(2) for s in (1, 2, 3)]
    assert {(p.windows, p.steps, p.together) for p in seen} == {(2, 3, 1)}
    assert [p.objective for p in seen] == ["flow", "ode", "ode"] * 2
    assert [p.stft is None for p in seen] == [True, False, False] * 2
    assert_same(one, two)
    assert [curve.loss for curve in one.curves] == [
        tuple(p.loss for p in seen if p.window == window) for window in range(2)
    ]
    assert [curve.objective for curve in one.curves] == [("flow", "ode", "ode")] * 2
    assert one.tokens.dtype == torch.int64
    assert one.codes_changed == int((one.tokens != start).sum())
    assert torch.equal(start, song.codes)
    other = optimize_tokens(song.audio[None], codec, start, settings=replace(settings, seed=1))
    assert other.curves != one.curves


def test_codes_change_only_where_the_result_was_better(song, whole):
    for report, span in zip(whole.windows, SPANS, strict=True):
        assert report.improved == (report.result < report.start)
        assert report.improved or torch.equal(whole.tokens[:, span], song.codes[:, span])
    assert {report.improved for report in whole.windows} == {True, False}, "of both kinds"


def test_the_share_of_moved_codes_is_that_of_the_nearest_ones(codec, song):
    records, _ = result_of(optimize_steps(song.source, codec, song.codes, told()))
    assert all(0 <= record.changed <= 1 for record in records)
    assert max(record.changed for record in records) > 0.5  # a step of 0.1 in all coordinates
    still = told(flow=FlowSettings(learning_rate=1e-12, commitment=0.0))
    greedy = codec.flow_matching.quantize(codec.flow_matching.code_sum(song.codes[None])).codes[0]
    records, _ = result_of(optimize_steps(song.source, codec, greedy, still))
    again = codec.flow_matching.quantize(codec.flow_matching.code_sum(greedy[None])).codes[0]
    for record, span in zip(records[::3], SPANS, strict=True):
        assert_close(record.changed, float((again != greedy)[:, span].float().mean()))


@pytest.mark.parametrize(("objective", "together"), [("flow", 1), ("ode", 1), ("hybrid", 2)])
def test_the_result_is_never_worse_than_the_start_under_the_selection_seeds(codec, song, plan, objective, together):
    """Decoded here from left to right, each window going on from the one before it."""
    settings = told(objective=objective, select_seeds=2, seed=4, windows_at_once=together)
    result = optimize_tokens(song.audio[None], codec, song.codes, settings=settings)
    past = [None, None]
    for window, report in zip(plan.windows(9), result.windows, strict=True):
        start = result.tokens.clone()
        start[:, SPANS[window.index]] = song.codes[:, SPANS[window.index]]
        scores = []
        for tokens in (start, result.tokens):
            decoded = [decode(codec, tokens, window, seed, past[seed]) for seed in range(2)]
            scores.append(sum(score(codec, song, window, latents) for latents in decoded) / 2)
        past = [latents[:, 8:] for latents in decoded]
        assert scores[1] <= scores[0] + 1e-5
        assert_close(scores[0], report.start, rtol=1e-4, atol=1e-5)
        assert_close(scores[1], min(report.start, report.result), rtol=1e-4, atol=1e-5)


def decode(codec, tokens, window, seed, past):
    noise = torch.randn(1, 12, 256, generator=keyed_generator(4, "select", seed, window.index))
    return codec.window_latents(tokens[None], window, noise=noise, context=past, num_steps=1, guidance_scale=1.25)


def score(codec, song, window, latents):
    own = slice((window.start + window.context) * 3840, (window.start + window.real) * 3840)
    target = song.audio[:, own]
    heard = codec.decode_latents(latents)[0][:, window.context * 3840 :][:, : target.shape[1]]
    return float(stft_loss(heard, target))


def test_no_steps_keep_the_start_or_its_requantization(codec, song):
    result = optimize_tokens(song.audio[None], codec, song.codes, settings=told(steps=0))
    assert [curve.loss for curve in result.curves] == [()] * 2
    again = codec.flow_matching.quantize(codec.flow_matching.code_sum(song.codes[None])).codes[0]
    for report, span in zip(result.windows, SPANS, strict=True):
        assert torch.equal(result.tokens[:, span], (again if report.improved else song.codes)[:, span])


@pytest.mark.parametrize("quantizer", ["straight-through", "gumbel", "soft", "none"])
def test_it_works_inside_inference_mode(codec, song, quantizer):
    settings = told(steps=2, quantizer=quantizer, moves=1)
    audio, codes = song.audio[None, :, : 3 * 3840], song.codes[:, :3]
    usual = optimize_tokens(audio, codec, codes, settings=settings)
    with torch.inference_mode():
        assert_same(optimize_tokens(audio, codec, codes, settings=settings), usual)


def test_the_sound_is_fitted_inside_inference_mode(codec, song):
    settings = told(objective="ode", steps=1, moves=1)
    with torch.inference_mode():
        result = optimize_tokens(song.audio[None, :, : 2 * 3840], codec, song.codes[:, :2], settings=settings)
    assert len(result.curves[0].loss) == 1


# --- several starts ---


def test_each_window_takes_the_better_start(codec, song):
    """Two songs of codes, of which one is better in the first window and the other in the second."""
    source, settings = song.source, told(steps=0)
    generator = torch.Generator().manual_seed(8)
    options = [torch.randint(0, 128, (4, 9), generator=generator) for _ in range(2)]

    def windows(*starts):
        return optimize_source(source, codec, list(starts), settings=settings).windows

    scores = [windows(codes)[0].start for codes in options]
    good, bad = (options[index] for index in sorted(range(2), key=scores.__getitem__))
    begun = optimize_source(source, codec, good, settings=settings).tokens[:, :6]
    # Behind the same kept first window, whose candidates do not depend on the second.
    tails = [torch.cat((good[:, :6], codes[:, 6:]), dim=1) for codes in options]
    scores = [windows(codes)[1].start for codes in tails]
    good_tail, bad_tail = (options[index][:, 6:] for index in sorted(range(2), key=scores.__getitem__))
    one = torch.cat((good[:, :6], bad_tail), dim=1)
    other = torch.cat((bad[:, :6], good_tail), dim=1)
    again = codec.flow_matching.quantize(codec.flow_matching.code_sum(torch.stack((one, other)))).codes
    for starts in ([one, other], [other, one]):
        result = optimize_source(source, codec, starts, settings=settings)
        assert torch.equal(result.start_tokens, starts[0])
        assert torch.equal(result.tokens[:, :6], begun)
        assert any(torch.equal(result.tokens[:, 6:], codes[:, 6:]) for codes in (other, again[1]))
        assert min(result.windows[1].start, result.windows[1].result) <= min(scores) + 1e-6


def test_the_better_start_is_the_one_that_is_fitted(codec, song, monkeypatch):
    audio, seen = AudioTensor(song.audio[:, : 4 * 3840]), []
    options = [song.codes[:, :4], song.codes[:, 4:8]]
    scores = [optimize_source(audio, codec, codes, settings=told(steps=0)).windows[0].start for codes in options]
    better = options[scores.index(min(scores))]
    fit = song_module.fit_windows
    monkeypatch.setattr(
        song_module, "fit_windows", lambda windows, starts, told: seen.extend(starts) or fit(windows, starts, told)
    )
    for starts in (options, options[::-1]):
        optimize_source(audio, codec, starts, settings=told())
        assert torch.equal(seen.pop(), codec.flow_matching.code_sum(better[None])[0])


def test_starts_are_compared_behind_what_was_kept_before_them(codec, song, monkeypatch):
    seen, real = [], song_module.choose

    def choose(codec, target, window, **told):
        found = real(codec, target, window, **told)
        seen.append((window.index, len(told["candidates"]), told["past"], found.past))
        return found

    monkeypatch.setattr(song_module, "choose", choose)
    optimize_source(song.source, codec, [song.codes, song.codes.flip(0)], settings=told(steps=1))
    # Each window's starts, then these and what was found from the better one.
    assert [(window, count) for window, count, *_ in seen] == [(0, 2), (0, 4), (1, 2), (1, 4)]
    assert seen[0][2] is seen[1][2] is None
    assert torch.equal(seen[2][2], seen[1][3])
    assert torch.equal(seen[3][2], seen[1][3])


def test_with_more_starts_it_is_never_worse_than_the_first(codec, song):
    others = [torch.randint(0, 128, (4, 9), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    alone = optimize_source(song.source, codec, song.codes, settings=told(steps=0))
    for together in (1, 2):
        settings = told(windows_at_once=together)
        result = optimize_source(song.source, codec, [song.codes, *others], settings=settings)
        assert_close(result.windows[0].start, alone.windows[0].start)
        for report, span in zip(result.windows, SPANS, strict=True):
            assert report.improved == (report.result < report.start)
            assert report.improved or torch.equal(result.tokens[:, span], song.codes[:, span])


def test_a_projection_is_a_start(codec, song):
    projection = EncoderProjection(256, 64, 64).eval()
    result = optimize_tokens(song.audio[None], codec, projection, settings=told(steps=1))
    assert result.start_tokens.shape == (4, 9)
    both = optimize_tokens(song.audio[None], codec, [projection, song.codes], settings=told(steps=1))
    assert torch.equal(both.start_tokens, result.start_tokens)


@pytest.mark.parametrize("start", ["zero", "random"])
def test_the_search_may_begin_elsewhere(codec, song, start, monkeypatch):
    seen, fit = [], song_module.fit_windows
    monkeypatch.setattr(
        song_module, "fit_windows", lambda windows, starts, told: seen.extend(starts) or fit(windows, starts, told)
    )
    result = optimize_tokens(song.audio[None], codec, song.codes, settings=told(start=start))
    assert torch.equal(result.start_tokens, song.codes)
    for vectors, span in zip(seen, SPANS, strict=True):
        near = codec.flow_matching.code_sum(song.codes[None, :, span])[0]
        assert (vectors - near).abs().max() > 0.1
    assert (torch.cat(seen) == 0).all() == (start == "zero")


# --- moves ---


@pytest.mark.parametrize(("objective", "together", "frames"), [("flow", 1, 8), ("flow", 2, 8), ("ode", 1, 3)])
def test_moves_are_never_worse(codec, song, objective, together, frames):
    audio, codes = song.audio[None, :, : frames * 3840], song.codes[:, :frames]
    settings = told(objective=objective, steps=1, windows_at_once=together)
    without = optimize_tokens(audio, codec, codes, settings=settings)
    moved = optimize_tokens(audio, codec, codes, settings=replace(settings, moves=1))
    # The first window goes on from the same place; later ones from what was kept before them.
    assert moved.windows[0].start == without.windows[0].start
    assert moved.windows[0].result <= without.windows[0].result + 1e-6
    for report, span in zip(moved.windows, SPANS, strict=False):
        assert report.improved == (report.result < report.start)
        assert report.improved or torch.equal(moved.tokens[:, span], codes[:, span])


def test_moves_that_are_worse_are_not_kept(codec, song, monkeypatch):
    audio, codes = song.audio[None, :, : 8 * 3840], song.codes[:, :8]
    without = optimize_tokens(audio, codec, codes, settings=told())

    def spoil(codec, target, codes, frames, **_):
        moved = codes.clone()
        moved[:, frames] = 127 - moved[:, frames]
        return moved

    monkeypatch.setattr(song_module, "move_codes", spoil)
    moved = optimize_tokens(audio, codec, codes, settings=told(moves=1))
    kept = [bool((moved.tokens != without.tokens)[:, span].any()) for span in SPANS]
    for changed, one, other in zip(kept, without.windows, moved.windows, strict=True):
        assert not changed or min(other.start, other.result) < min(one.start, one.result)
    assert not all(kept)


# --- windows together ---


def test_windows_together_are_seen_as_one_and_compared_in_turn(codec, long_song):
    records, result = result_of(optimize_steps(long_song.source, codec, long_song.codes, told(windows_at_once=2)))
    assert [(r.window, r.together, r.step) for r in records] == [
        (*group, step) for group in ((0, 2), (2, 1)) for step in (1, 2, 3)
    ]
    assert len(result.windows) == len(result.curves) == 3
    for window, record in itertools.product(range(2), range(3)):
        mean = (result.curves[0].loss[record] + result.curves[1].loss[record]) / 2
        assert_close(records[record].loss, mean)
        assert len(result.curves[window].loss) == 3
    again = optimize_source(long_song.source, codec, long_song.codes, settings=told(windows_at_once=2))
    assert_same(result, again)


def test_the_first_window_of_a_group_is_fitted_as_alone(codec, long_song):
    alone = optimize_source(long_song.source, codec, long_song.codes, settings=told())
    together = optimize_source(long_song.source, codec, long_song.codes, settings=told(windows_at_once=3))
    assert_close(torch.tensor(together.curves[0].loss), torch.tensor(alone.curves[0].loss), rtol=1e-4, atol=1e-5)
    assert_close(together.windows[0].start, alone.windows[0].start)


# --- a journal ---


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "song.optimize-progress", "key")


def stopped_after(steps, windows):
    """Go on until so many windows are done, and drop the rest, as a process does that is killed."""
    for record in steps:
        if record.window >= windows:
            break
    steps.close()


@pytest.mark.parametrize(
    "settings",
    [told(objective="hybrid", steps=2), told(quantizer="gumbel", averaging=0.5, seed=3, select_seeds=2)],
    ids=["hybrid", "gumbel"],
)
def test_stopped_after_any_window_it_ends_as_if_it_had_not_been(codec, long_song, journal, settings):
    whole = optimize_source(long_song.source, codec, long_song.codes, settings=settings)
    for windows in (1, 2):
        stopped_after(optimize_steps(long_song.source, codec, long_song.codes, settings, journal=journal), windows)
        assert len(journal.read().windows) == windows
        records, result = result_of(optimize_steps(long_song.source, codec, long_song.codes, settings, journal=journal))
        assert [r.window for r in records] == [w for w in range(windows, 3) for _ in range(settings.steps)]
        assert_same(result, whole)
        journal.remove()


def test_stopped_after_every_window_it_ends_as_if_it_had_not_been(codec, long_song, journal):
    starts = [long_song.codes, long_song.codes.flip(0)]
    whole = optimize_source(long_song.source, codec, starts, settings=told())
    for windows in (1, 2):
        stopped_after(optimize_steps(long_song.source, codec, starts, told(), journal=journal), windows)
    assert_same(optimize_source(long_song.source, codec, starts, settings=told(), journal=journal), whole)


def test_groups_are_resumed_as_well(codec, long_song, journal):
    settings = told(windows_at_once=2)
    whole = optimize_source(long_song.source, codec, long_song.codes, settings=settings)
    stopped_after(optimize_steps(long_song.source, codec, long_song.codes, settings, journal=journal), 2)
    records, result = result_of(optimize_steps(long_song.source, codec, long_song.codes, settings, journal=journal))
    assert {record.window for record in records} == {2}
    assert_same(result, whole)


def test_what_is_done_is_not_done_again(codec, song, journal, whole):
    assert_same(optimize_source(song.source, codec, song.codes, settings=told(), journal=journal), whole)
    records, result = result_of(optimize_steps(song.source, codec, song.codes, told(), journal=journal))
    assert records == []
    assert_same(result, whole)


def spoil_losses(monkeypatch, scales):
    """Scale the flow's losses of the first calls; NaN is a step that is skipped."""
    real, left = phases.flow_losses, iter(scales)
    monkeypatch.setattr(phases, "flow_losses", lambda *args, **rest: real(*args, **rest) * next(left, 1.0))


def test_a_note_is_made_once_with_how_often(codec, song, monkeypatch):
    bad = float("nan")
    spoil_losses(monkeypatch, [1.0, bad, 1.0, bad])
    records, result = result_of(optimize_steps(song.source, codec, song.codes, told()))
    assert [record.note is not None for record in records] == [False, True, False, True, False, False]
    (note,) = result.notes
    assert note == f"{records[1].note} (2 times)"
    spoil_losses(monkeypatch, [bad])
    assert optimize_source(song.source, codec, song.codes, settings=told()).notes == (records[1].note,)


def test_notes_of_before_are_kept(codec, song, journal, monkeypatch):
    spoil_losses(monkeypatch, [float("nan")])
    stopped_after(optimize_steps(song.source, codec, song.codes, told(), journal=journal), 1)
    spoil_losses(monkeypatch, [float("nan")])
    result = optimize_source(song.source, codec, song.codes, settings=told(), journal=journal)
    (note,) = result.notes
    assert "skipped (2 times)" in note


@pytest.mark.parametrize("spoil", ["key", "cut"])
def test_a_journal_that_is_not_its_own_or_damaged_counts_as_nothing(codec, song, journal, whole, spoil):
    stopped_after(optimize_steps(song.source, codec, song.codes, told(), journal=journal), 1)
    if spoil == "key":
        journal.key = "another"
    else:
        journal.path.write_bytes(journal.path.read_bytes()[:-50])
    records, result = result_of(optimize_steps(song.source, codec, song.codes, told(), journal=journal))
    assert len(records) == 6
    assert_same(result, whole)
    assert journal.read().windows == whole.windows


# --- a budget ---


def test_a_budget_becomes_steps_that_give_the_same_tokens(codec, song):
    settings = told(objective="hybrid", budget=0.5)
    timed = optimize_tokens(song.audio[None], codec, song.codes, settings=settings)
    assert timed.steps >= 1
    counted = optimize_tokens(
        song.audio[None], codec, song.codes, settings=replace(settings, steps=timed.steps, budget=None)
    )
    assert_same(timed, counted)


def test_a_larger_budget_pays_for_more_steps(codec, song):
    small, large = (
        next(optimize_steps(song.source, codec, song.codes, told(budget=budget))).steps for budget in (1e-6, 60.0)
    )
    assert small == 1
    assert large > 20


def test_a_budgets_steps_are_kept_where_it_goes_on(codec, song, journal):
    settings = told(budget=0.5)
    first = optimize_steps(song.source, codec, song.codes, settings, journal=journal)
    steps = next(first).steps
    stopped_after(first, 1)
    result = optimize_source(song.source, codec, song.codes, settings=settings, journal=journal)
    assert result.steps == steps
    counted = optimize_source(song.source, codec, song.codes, settings=replace(settings, steps=steps, budget=None))
    assert_same(result, counted)


def test_a_budget_that_is_measured_has_its_steps_at_once(codec, song, journal):
    """Stopped in the first window, it goes on with the same steps, not with others of another measure."""
    first = optimize_steps(song.source, codec, song.codes, told(budget=1.0), journal=journal)
    steps = next(first).steps
    first.close()
    assert next(optimize_steps(song.source, codec, song.codes, told(budget=9.0), journal=journal)).steps == steps


def test_a_budgets_trial_steps_are_all_made(codec, song, monkeypatch):
    """Patience would cut them short, and each would seem to take half as long."""
    seen, fit = [], budget_module.fit_windows

    def spy(windows, starts, settings):
        seen.append(len(made := list(fit(windows, starts, settings))))
        return iter(made)

    monkeypatch.setattr(budget_module, "fit_windows", spy)
    next(optimize_steps(song.source, codec, song.codes, told(objective="hybrid", budget=1e-6, patience=1)))
    assert seen[:2] == [budget_module.PROBE_STEPS] * 2


def test_a_budget_is_not_measured_on_silence(codec, song):
    """A song often begins with some; steps of the sound's phase would seem to cost nothing, or could not be timed."""
    audio = song.audio.clone()
    audio[:, : 6 * 3840] = 0
    settings = told(objective="ode", budget=60.0)
    assert next(optimize_steps(AudioTensor(audio), codec, song.codes, settings)).steps > 20


# --- what is refused ---


def test_the_steps_come_one_by_one(codec, song):
    steps = optimize_steps(song.source, codec, song.codes, told(steps=100))
    assert next(steps).step == 1
    assert next(steps).step == 2


def test_more_than_one_song_is_refused(codec, audio):
    with pytest.raises(AudioError, match="one song"):
        optimize_tokens(audio, codec, torch.zeros(4, 13, dtype=torch.int64))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(4, 8, dtype=torch.int64), r"\[4, 9\]"),
        (torch.zeros(4, 9), r"\[4, 9\]"),
        (torch.full((4, 9), 128), "0 to 127"),
        (torch.full((4, 9), -1), "0 to 127"),
        (torch.zeros(4, 9, dtype=torch.bool), r"\[4, 9\]"),
    ],
)
def test_start_tokens_that_are_not_the_songs_are_refused(codec, song, start, message):
    with pytest.raises(TokenError, match=message):
        optimize_tokens(song.audio[None], codec, start)
    with pytest.raises(TokenError, match=message):
        optimize_tokens(song.audio[None], codec, [song.codes, start])


def test_no_start_at_all_is_refused(codec, song):
    with pytest.raises(HeartoptError, match="start"):
        optimize_tokens(song.audio[None], codec, [])


def test_other_integers_become_int64(codec, song):
    result = optimize_tokens(song.audio[None], codec, song.codes.to(torch.int32), settings=told(steps=1))
    assert result.tokens.dtype == result.start_tokens.dtype == torch.int64


# --- difficult songs ---


@pytest.mark.parametrize("objective", ["flow", "hybrid"])
def test_a_song_of_silence_is_refined_by_the_flow_alone(codec, plan, objective):
    audio = torch.zeros(1, 2, 8 * 3840)
    codes = torch.randint(0, 128, (4, 8), generator=torch.Generator().manual_seed(0))
    result = optimize_tokens(audio, codec, codes, settings=told(objective=objective, steps=5, moves=1))
    assert {name for curve in result.curves for name in curve.objective} == {"flow"}
    assert all(report.start == report.start for report in result.windows)


def test_a_last_window_of_one_sample(codec, song):
    result = optimize_tokens(
        song.audio[None, :, : 6 * 3840 + 1], codec, song.codes[:, :7], settings=told(objective="hybrid")
    )
    assert len(result.windows) == 2
    assert all(loss == loss for curve in result.curves for loss in curve.loss)


def test_the_codecs_own_windows_are_used(codec, audio, monkeypatch):
    asked = []
    monkeypatch.setattr(codec, "window_plan", lambda duration=None: asked.append(duration) or WindowPlan(6, 4))
    optimize_tokens(audio[None], codec, torch.zeros(4, 13, dtype=torch.int64), settings=told(steps=0, duration=14.88))
    assert set(asked) == {14.88}
