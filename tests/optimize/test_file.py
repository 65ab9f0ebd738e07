import errno
import json
import math
import multiprocessing
import os
import random
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from heartopt import EncoderProjection, files
from heartopt.audio import read_audio, write_audio
from heartopt.codec.windows import WindowPlan
from heartopt.errors import AudioError, ConfigError, OutputError, TokenError
from heartopt.optimize import FlowSettings, OdeSettings, OptimizeSettings, optimize_file, phases
from heartopt.optimize.file import JOURNAL_SUFFIX
from heartopt.tokens import TokenInfo, load_tokens, save_tokens

pytestmark = pytest.mark.usefixtures("plan")
CODEC = Path(__file__).parents[1] / "data" / "codec"
SETTINGS = OptimizeSettings(
    objective="flow",
    steps=2,
    flow=FlowSettings(draws=2, learning_rate=0.1),
    ode=OdeSettings(solver_steps=1, gradient_steps=1),
    num_steps=1,
    select_seeds=1,
    judge_seeds=1,
    seed=4,
)


@pytest.fixture(scope="module")
def projection():
    torch.manual_seed(0)
    return EncoderProjection(256, 64, 64).eval()


@pytest.fixture
def path(song, tmp_path):
    """The song's file: two windows."""
    write_audio(tmp_path / "song.wav", song.audio)
    return tmp_path / "song.wav"


@pytest.fixture
def out(tmp_path):
    """Where a song's outputs go: `out / "song"` and suffixes."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def whole(codec, projection, song, tmp_path_factory):
    """The song's tokens after a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    write_audio(folder / "song.wav", song.audio)
    told = {"codec": codec, "projection": projection, "projection_name": "p", "settings": SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "window_plan", lambda duration=None: WindowPlan(6, 4))
        report = optimize_file(folder / "song.wav", stem=folder / "song", **told)
    return tokens_of(report).tokens


@pytest.fixture
def run(codec, projection):
    def run(path, stem, settings=SETTINGS, **rest):
        told = {"codec": codec, "projection": projection, "projection_name": "p", **rest}
        return optimize_file(path, stem=stem, settings=settings, **told)

    return run


def tokens_of(report):
    return load_tokens(report.tokens, num_quantizers=4, codebook_size=128)


def names(folder):
    return sorted(found.name for found in folder.iterdir())


OUTPUTS = ["song.optimized.wav", "song.tokens.json", "song.tokens.npy"]


def test_a_song_becomes_tokens_and_audio_of_its_length(run, codec, audio, tmp_path, out):
    write_audio(tmp_path / "song.wav", audio[:, :40_001])
    report = run(tmp_path / "song.wav", out / "song", keep_start=True)
    tokens, info = tokens_of(report)
    assert tokens.shape == (4, 11)
    assert (info.frames, info.codec, info.fingerprint) == (11, codec.name, codec.fingerprint())
    assert info.seconds == pytest.approx(40_001 / 48_000)
    assert info.projection == "p"
    assert names(out) == sorted([*OUTPUTS, "song.start.wav"])
    for sound in (report.audio, out / "song.start.wav"):
        assert read_audio(sound).shape == (2, 40_001)
        assert soundfile.info(sound).samplerate == 48_000
    assert report.rtf == pytest.approx(report.wall_seconds / report.seconds)
    assert (report.frames, report.codes, report.windows) == (11, 44, 3)
    assert 0 <= report.windows_kept <= 3
    assert set(report.start) == set(report.result) == {"stft", "mel", "shimmer_db"}


def test_the_settings_are_beside_the_tokens(run, path, out):
    settings = replace(SETTINGS, watch_every=1, budget=1e-6)
    report = run(path, out / "song", settings)
    said = json.loads(report.tokens.with_suffix(".json").read_text())["settings"]
    assert (said["method"], said["init"], said["mixdown"]) == ("optimize", ["projection"], False)
    assert (said["seed"], said["objective"], said["flow"]["draws"], said["dtype"]) == (4, "flow", 2, "float32")
    assert (said["steps"], said["duration"]) == (report.steps, 6 / 12.5)
    assert report.steps == 1


def test_a_song_that_breaks_half_way_leaves_nothing(run, audio, tmp_path, out):
    broken = audio.clone()
    broken[0, 30_000] = float("nan")
    soundfile.write(tmp_path / "song.wav", broken.T.numpy(), 48_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        run(tmp_path / "song.wav", out / "song")
    assert not list(out.glob("*"))


def test_the_same_song_gives_the_same_tokens(run, path, out, whole):
    assert torch.equal(tokens_of(run(path, out / "song")).tokens, whole)


def test_notes_are_reported(run, path, out, monkeypatch):
    real, scales = phases.flow_losses, iter([1.0, math.nan])
    monkeypatch.setattr(phases, "flow_losses", lambda *args, **rest: real(*args, **rest) * next(scales, 1.0))
    (note,) = run(path, out / "song", replace(SETTINGS, steps=3)).notes
    assert "skipped" in note


# --- pictures ---


def test_an_excerpt_is_shown_before_the_tokens_are_there(run, song, path, out):
    shown = []

    def show(excerpt):
        assert names(out) == [f"song{JOURNAL_SUFFIX}", "song.optimized.wav"]
        shown.append(excerpt)

    report = run(path, out / "song", show=show, excerpt_seconds=0.5)
    (excerpt,) = shown
    for sound in (excerpt.original, excerpt.start, excerpt.result):
        assert sound.shape == (2, 24_000)
    assert torch.allclose(excerpt.original, song.audio[:, :24_000], atol=1e-6)
    # The file is clipped to full scale.
    assert torch.allclose(excerpt.result.clamp(-1, 1), read_audio(report.audio)[:, :24_000], atol=1e-6)
    assert torch.equal(excerpt.tokens, tokens_of(report).tokens)
    assert len(excerpt.curves) == 2
    assert int((excerpt.tokens != excerpt.start_tokens).sum()) == report.codes_changed


def test_of_a_short_song_all_is_shown(run, song, path, out):
    shown = []
    run(path, out / "song", show=shown.append, excerpt_seconds=30.0)
    assert shown[0].original.shape == shown[0].result.shape == song.audio.shape


def test_of_no_seconds_nothing_is_shown(run, path, out):
    report = run(path, out / "song", show=lambda _: pytest.fail("there is nothing to see"))
    assert tokens_of(report).tokens.shape == (4, 9)


# --- starts ---


@pytest.fixture
def start_file(codec, song, tmp_path):
    def make(name="start", *, frames=9, **changes):
        facts = {
            "codec": "x",
            "fingerprint": codec.fingerprint(),
            "projection": None,
            "settings": {},
            "frames": frames,
            "seconds": frames / 12.5 - 0.01,
        }
        path = tmp_path / f"{name}.tokens.npy"
        save_tokens(path, song.codes[:, :frames].contiguous(), TokenInfo(**{**facts, **changes}))
        return path

    return make


def test_tokens_of_a_file_are_a_start(run, song, path, out, start_file):
    seen = []
    start = start_file()
    report = run(path, out / "song", init=[start], show=seen.append, excerpt_seconds=0.1)
    assert torch.equal(seen[0].start_tokens, song.codes)
    assert json.loads(report.tokens.with_suffix(".json").read_text())["settings"]["init"] == [str(start)]
    start.with_suffix(".json").unlink()
    again = run(path, out / "again", init=[start], projection=None)
    assert torch.equal(tokens_of(again).tokens, tokens_of(report).tokens)
    assert tokens_of(again).info.projection is None


def test_a_projection_that_is_asked_for_must_be_there(run, path, out):
    with pytest.raises(ConfigError, match="projection"):
        run(path, out / "song", projection=None)
    assert not out.exists()


def test_random_codes_are_a_start_that_the_seed_makes(run, path, out):
    seen = []
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        settings = replace(SETTINGS, steps=0, seed=seed)
        run(path, out / name, settings, init=["random"], show=seen.append, excerpt_seconds=0.1)
    one, two, other = (excerpt.start_tokens for excerpt in seen)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.unique().numel() > 30


def test_of_several_starts_the_first_is_the_one_compared_with(run, song, path, out, start_file):
    seen = []
    init = [start_file(), "random", "projection"]
    report = run(path, out / "song", init=init, show=seen.append, excerpt_seconds=0.1)
    assert torch.equal(seen[0].start_tokens, song.codes)
    said = json.loads(report.tokens.with_suffix(".json").read_text())["settings"]["init"]
    assert said == [str(init[0]), "random", "projection"]


def test_a_start_of_another_length_is_refused(run, path, out, start_file):
    start = start_file(frames=8)
    with pytest.raises(TokenError, match=re.escape(f"{start}: holds 8 frames; this song has 9")):
        run(path, out / "song", init=["projection", start])
    assert not out.exists()


def test_a_start_of_another_codec_is_refused(run, path, out, start_file):
    with pytest.raises(TokenError, match="another codec"):
        run(path, out / "song", init=[start_file(fingerprint="0" * 64)])
    assert not out.exists()


def test_a_start_that_is_no_token_file_is_refused(run, path, out, tmp_path):
    (tmp_path / "no.tokens.npy").write_bytes(b"no tokens")
    for name in ("no.tokens.npy", "missing.tokens.npy"):
        with pytest.raises(TokenError, match=name):
            run(path, out / "song", init=[tmp_path / name])
    assert not out.exists()


# --- songs of all kinds ---


def silence_inside(audio):
    audio[:, 6 * 3840 : 8 * 3840] = 0
    return audio


SONGS = {
    "0.05 s": lambda audio: audio[:, :2400],
    "one sample": lambda audio: audio[:, :1],
    "silence inside": silence_inside,
    "clipped": lambda audio: (audio * 50).clamp(-1, 1),
    "mostly an offset": lambda audio: audio * 0.01 + 0.7,
    "mono": lambda audio: audio[:1],
    "one silent channel": lambda audio: audio * torch.tensor([[1.0], [0.0]]),
}


@pytest.mark.parametrize("kind", SONGS)
def test_songs_of_all_kinds_are_refined(run, song, tmp_path, out, kind):
    audio = SONGS[kind](song.audio.clone())
    soundfile.write(tmp_path / "song.wav", audio.T.numpy(), 48_000, subtype="FLOAT")
    report = run(tmp_path / "song.wav", out / "song", replace(SETTINGS, objective="hybrid"))
    assert tokens_of(report).tokens.shape == (4, -(-audio.shape[1] // 3840))
    heard = read_audio(report.audio)
    assert heard.shape == (2, audio.shape[1])
    assert torch.isfinite(heard).all()
    assert all(math.isfinite(value) for side in (report.start, report.result) for value in side.values())
    assert names(out) == OUTPUTS


def test_a_silent_song_has_no_figures_but_tokens(run, tmp_path, out):
    soundfile.write(tmp_path / "song.wav", np.zeros((30_000, 2)), 48_000)
    report = run(tmp_path / "song.wav", out / "song", replace(SETTINGS, objective="hybrid"))
    assert all(math.isnan(value) for side in (report.start, report.result) for value in side.values())
    assert tokens_of(report).tokens.shape == (4, 8)


def test_a_song_of_three_channels_is_mixed_where_asked(run, tmp_path, out):
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).uniform(-0.3, 0.3, (20_000, 3)), 48_000)
    with pytest.raises(AudioError, match="mixdown"):
        run(tmp_path / "song.wav", out / "song")
    assert tokens_of(run(tmp_path / "song.wav", out / "song", mixdown=True)).tokens.shape == (4, 6)


# --- stopped and gone on with ---


class Stopped(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def stop_in(window):
    def progress(event):
        if event.window == window:
            raise Stopped

    return progress


def windows_done(run, *args, **rest):
    """The windows that a run goes through, and its report."""
    seen = []
    report = run(*args, progress=lambda event: seen.append(event.window), **rest)
    return sorted(set(seen)), report


def test_a_run_that_was_stopped_goes_on_where_it_was(run, path, out, tmp_path):
    whole = run(path, tmp_path / "whole" / "song")
    for window in (0, 1):
        with pytest.raises(Stopped):
            run(path, out / "song", progress=stop_in(window))
        assert names(out) == [f"song{JOURNAL_SUFFIX}"]
    done, report = windows_done(run, path, out / "song")
    assert done == [1]
    assert torch.equal(tokens_of(report).tokens, tokens_of(whole).tokens)
    assert (report.start, report.result) == (whole.start, whole.result)
    assert report.audio.read_bytes() == whole.audio.read_bytes()
    assert names(out) == OUTPUTS


def test_looking_on_or_not_does_not_matter_to_where_it_goes_on(run, path, out):
    with pytest.raises(Stopped):
        run(path, out / "song", replace(SETTINGS, watch_every=1), progress=stop_in(1))
    assert windows_done(run, path, out / "song")[0] == [1]


@pytest.mark.parametrize("what", ["settings", "song", "start"])
def test_of_something_else_nothing_is_done_yet(run, song, path, out, what):
    with pytest.raises(Stopped):
        run(path, out / "song", progress=stop_in(1))
    if what == "song":
        write_audio(path, song.audio.flip(0))
    settings = replace(SETTINGS, seed=5) if what == "settings" else SETTINGS
    done, _ = windows_done(run, path, out / "song", settings, init=["random" if what == "start" else "projection"])
    assert done == [0, 1]
    assert names(out) == OUTPUTS


def test_a_damaged_journal_counts_as_nothing(run, path, out, whole):
    out.mkdir()
    out.joinpath(f"song{JOURNAL_SUFFIX}").write_bytes(b"\x00" * 1000)
    done, report = windows_done(run, path, out / "song")
    assert done == [0, 1]
    assert torch.equal(tokens_of(report).tokens, whole)


#: Run by a fresh process that already has torch: a fork of one that only imported it.
SCRIPT = """
import os
import signal
from pathlib import Path
import torch
from heartopt import EncoderProjection, HeartCodec
from heartopt.codec.windows import WindowPlan
from heartopt.optimize import file
torch.set_num_threads(1)
codec = HeartCodec.from_pretrained(folder)
codec.window_plan = lambda duration=None: WindowPlan(6, 4)
torch.manual_seed(0)
projection = EncoderProjection(256, 64, 64).eval()
if moment == "judging":
    class Writer(file.AudioWriter):
        def write(self, audio):
            super().write(audio)
            os.kill(os.getpid(), signal.SIGKILL)
    file.AudioWriter = Writer
if moment == "tokens":
    file.save_tokens = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
file.optimize_file(
    Path(song), stem=Path(stem), codec=codec, projection=projection, projection_name="p", settings=settings
)
"""


def begin(path, stem, *, moment=None):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["heartopt.optimize", "soundfile"])
    told = {"folder": str(CODEC), "song": str(path), "stem": str(stem), "moment": moment, "settings": SETTINGS}
    process = context.Process(target=exec, args=(SCRIPT, told))
    process.start()
    return process


def assert_whole(folder, samples):
    """Whatever is there under its own name is whole; tokens come last."""
    if (folder / "song.tokens.npy").exists():
        assert (folder / "song.tokens.json").exists()
        assert (folder / "song.optimized.wav").exists()
        tokens, _ = load_tokens(folder / "song.tokens.npy", num_quantizers=4, codebook_size=128)
        assert tokens.shape == (4, 9)
    if (folder / "song.optimized.wav").exists():
        assert soundfile.info(folder / "song.optimized.wav").frames == samples


def test_killed_at_some_moments_it_ends_as_if_it_had_not_been(song, path, tmp_path):
    begun = time.monotonic()
    whole = begin(path, tmp_path / "whole" / "song")
    whole.join()
    assert whole.exitcode == 0
    length, moments, killed = time.monotonic() - begun, random.Random(0), tmp_path / "killed"
    killed.mkdir()
    for _ in range(2):
        process = begin(path, killed / "song")
        process.join(moments.uniform(0.3, 0.95) * length)
        process.kill()
        process.join()
        assert_whole(killed, song.audio.shape[1])
        (killed / "song.tokens.npy").unlink(missing_ok=True)  # else there would be nothing to go on with
    last = begin(path, killed / "song")
    last.join()
    assert last.exitcode == 0
    assert names(killed) == OUTPUTS
    for name in OUTPUTS:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("moment", ["judging", "tokens"])
def test_killed_late_it_leaves_no_half_written_file_for_ever(run, song, path, out, moment):
    process = begin(path, out / "song", moment=moment)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert_whole(out, song.audio.shape[1])
    assert (out / f"song{JOURNAL_SUFFIX}").exists()
    done, _ = windows_done(run, path, out / "song")
    assert done == []
    assert names(out) == OUTPUTS


# --- a full disk ---


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5])
def test_a_full_disk_is_one_error_and_loses_nothing(run, path, out, monkeypatch, whole, writes):
    """Full from any file on: the journal at first and after both windows, the sound, the JSON, the tokens."""
    flush, done = files._flush_to_disk, []

    def full(target, flags=os.O_RDONLY):
        if not target.is_dir():
            if len(done) == writes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done.append(target)
        flush(target, flags)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush_to_disk", full)
        with pytest.raises(OutputError, match=re.escape(f"cannot write {out}/song") + ".*No space left on device"):
            run(path, out / "song")
    assert not [name for name in names(out) if name.startswith(".")]
    assert (out / f"song{JOURNAL_SUFFIX}").exists() == (writes > 0)
    assert not (out / "song.tokens.npy").exists()
    windows, report = windows_done(run, path, out / "song")
    assert windows == list(range(min(max(writes - 1, 0), 2), 2))
    assert torch.equal(tokens_of(report).tokens, whole)


def test_a_disk_that_the_sound_does_not_fit_on(run, path, out, whole, files_of_at_most):
    """The kernel itself refuses: after the journals, in the middle of the sound."""
    with files_of_at_most(100_000), pytest.raises(OutputError, match=r"cannot write .*song\.optimized\.wav"):
        run(path, out / "song")
    assert names(out) == [f"song{JOURNAL_SUFFIX}"]
    done, report = windows_done(run, path, out / "song")
    assert done == []
    assert torch.equal(tokens_of(report).tokens, whole)


def test_a_disk_that_the_journal_does_not_fit_on(run, path, out, whole, files_of_at_most):
    with files_of_at_most(2_000), pytest.raises(OutputError, match=rf"cannot write .*song{JOURNAL_SUFFIX}"):
        run(path, out / "song")
    assert all(name == f"song{JOURNAL_SUFFIX}" for name in names(out))
    assert torch.equal(tokens_of(run(path, out / "song")).tokens, whole)


def test_tokens_that_cannot_be_replaced_are_one_error(run, path, out):
    (out / "song.tokens.npy").mkdir(parents=True)
    with pytest.raises(OutputError, match=re.escape(f"{out}/song.tokens.npy")):
        run(path, out / "song")


def test_a_folder_that_cannot_be_written_is_one_error(run, path, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot write"):
        run(path, tmp_path / "file" / "song")
