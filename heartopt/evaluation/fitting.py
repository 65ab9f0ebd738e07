"""Audio and tokens from outside, made to fit the song that they are compared with, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE, AudioFile, stereo
from heartopt.errors import AudioError, HeartoptError, TokenError
from heartopt.tokens import FRAME_RATE, FRAME_SAMPLES, frames_for

if TYPE_CHECKING:
    from heartopt.evaluation.suites import Song

#: Up to so many seconds an output may be longer or shorter than its song: codecs pad to their frames.
TOLERANCE_SECONDS = 0.1
_TOLERANCE = round(TOLERANCE_SECONDS * SAMPLE_RATE)


def read_output(song: Song, samples: int, path: str, *, mixdown: bool) -> tuple[Tensor, str]:
    """Somebody's rendering of a song, a file: its audio `[2, samples]` at 48 kHz, and what was done to it in words.

    Other rates are resampled, mono is taken for both channels, more channels are their mean with `mixdown`. A file that
    is as long as the whole song, where the song is an excerpt, has the excerpt cut from it.

    Raises:
        AudioError: it cannot be read, holds NaN, has more than two channels (without `mixdown`), or another length.
    """
    with AudioFile(path, mixdown=mixdown) as file:
        rate, notes = file.sample_rate, []
        first = _excerpt_start(song, samples, file.num_samples)
        audio = file.read() if first is None else file.read(first, first + samples)
    if rate != SAMPLE_RATE:
        notes.append(f"resampled from {rate} Hz")
    if first is not None:
        notes.append("cut from the whole song")
    fitted, done = fit_audio(audio, samples, str(path))
    return fitted, join_notes(*notes, done)


def fit_audio(audio: Tensor, samples: int, where: str) -> tuple[Tensor, str]:
    """Audio `[1 or 2, n]` at 48 kHz as `[2, samples]` float32 on the CPU, and what was done to it in words.

    Mono is taken for both channels. Up to 0.1 s more is cut from its end, up to 0.1 s less is silence there.

    Raises:
        AudioError: another shape, more channels, NaN or infinite samples, another length.
    """
    if audio.dim() != 2 or audio.shape[-1] == 0 or not audio.is_floating_point():
        raise AudioError(f"{where}: audio must be floating point [channels, samples], not {_described(audio)}")
    if audio.shape[0] > 2:
        raise AudioError(f"{where}: has {audio.shape[0]} channels; give one or two")
    audio = audio.detach().float().cpu()
    if not bool(audio.isfinite().all()):
        raise AudioError(f"{where}: has samples that are NaN or infinite")
    longer = audio.shape[-1] - samples
    if not _near(audio.shape[-1], samples):
        lengths = f"{audio.shape[-1] / SAMPLE_RATE:.3f} s, and the song {samples / SAMPLE_RATE:.3f} s"
        raise AudioError(f"{where}: lasts {lengths}: more than {TOLERANCE_SECONDS} s apart is not compared")
    notes = ["mono, taken for both channels"] if audio.shape[0] == 1 else []
    if longer:
        end = "cut" if longer > 0 else "silence at its end"
        notes.append(f"{1000 * abs(longer) / SAMPLE_RATE:.1f} ms {'longer' if longer > 0 else 'shorter'}, {end}")
    fitted = functional.pad(stereo(audio)[:, :samples], (0, max(0, -longer)))
    return fitted, join_notes(*notes)


def fit_tokens(tokens: Tensor, song: Song | None, samples: int, where: str) -> tuple[Tensor, int, str]:
    """Tokens `[K, F]` that go with so many samples of a song: themselves, the samples to cut from the front of what
    they decode to, and what was done to them in words.

    One frame (80 ms) more is cut; one frame less leaves silence at the end, which `fit_decoded` fills in. Tokens of
    the whole song serve an excerpt of it: what they decode to is cut.

    Raises:
        TokenError: another length.
    """
    frames, wanted = tokens.shape[-1], frames_for(samples)
    if frames == wanted:
        return tokens, 0, ""
    if frames == wanted + 1:
        return tokens[:, :wanted], 0, "one frame longer, cut"
    if frames == wanted - 1 and frames > 0 and _near(frames * FRAME_SAMPLES, samples):
        return tokens, 0, "one frame shorter, silence at its end"
    if song is not None and (start := _excerpt_start(song, samples, frames * FRAME_SAMPLES)) is not None:
        return tokens, start, "cut from the whole song"
    seconds = frames / FRAME_RATE
    raise TokenError(f"{where}: {frames} frames last {seconds:.2f} s, and the song {samples / SAMPLE_RATE:.2f} s")


def fit_decoded(audio: Tensor, samples: int, offset: int = 0) -> Tensor:
    """What fitted tokens decoded to, `[2, n]`, as `[2, samples]` float32 on the CPU."""
    part = audio[:, offset : offset + samples].float().cpu()
    return functional.pad(part, (0, samples - part.shape[-1]))


def join_notes(*notes: str) -> str:
    """Notes as one; "" for none."""
    return "; ".join(note for note in notes if note)


def _excerpt_start(song: Song, samples: int, length: int) -> int | None:
    """Where an excerpt begins in an output that is as long as its whole song; None where it is no such output."""
    if _near(length, samples) or not song.is_excerpt:
        return None
    try:
        whole = song.whole_samples()
    except HeartoptError:  # the song cannot be read any more: then no output fits it
        return None
    start = round(song.start * SAMPLE_RATE)
    rounded = frames_for(whole) * FRAME_SAMPLES
    lacking = start + samples - length
    return start if (_near(length, whole) or length == rounded) and lacking <= _TOLERANCE else None


def _near(length: int, samples: int) -> bool:
    """Whether an output is as long as the song, give or take; never less than half of it."""
    return abs(length - samples) <= _TOLERANCE and 2 * length >= samples


def _described(audio: Tensor) -> str:
    return f"{str(audio.dtype).removeprefix('torch.')} {list(audio.shape)}"


def to_tensor(made: object, where: str) -> Tensor:
    """A tensor or an array as a tensor. Raises HeartoptError for anything else."""
    if isinstance(made, Tensor):
        return made.detach()
    try:
        return torch.as_tensor(made)
    except (TypeError, ValueError, RuntimeError) as error:
        raise HeartoptError(f"{where}: gave {type(made).__name__}, not tokens [K, F] or audio [C, N]") from error
