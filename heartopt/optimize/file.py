"""One song file: refined, judged and written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from heartopt.audio import AudioFile, AudioSource, AudioWriter
from heartopt.codec.encoding import source_frames
from heartopt.codec.model import HeartCodec
from heartopt.errors import ConfigError, OutputError, TokenError
from heartopt.files import remove_leftovers, sha256_of
from heartopt.optimize.journal import Journal, WindowCurve
from heartopt.optimize.judge import judge
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.song import Progress, optimize_source
from heartopt.projection import EncoderProjection, tokenize_source
from heartopt.seeding import keyed_generator
from heartopt.tokens import TOKEN_SUFFIX, TokenInfo, info_path, load_tokens, save_tokens
from heartopt.version import __version__

#: Beside the song's outputs, while it is being worked on.
JOURNAL_SUFFIX = ".optimize-progress"
#: Starts that are not files.
PROJECTION, RANDOM = "projection", "random"


@dataclass(frozen=True)
class Excerpt:
    """What a picture of a run shows: the first seconds of each sound ``[2, N]``, curves and codes ``[K, F]``."""

    original: Tensor
    start: Tensor
    result: Tensor
    curves: tuple[WindowCurve, ...]
    start_tokens: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class FileReport:
    """What became of one song: its files, and the metrics of start and result under the judge seeds.

    ``codes_changed`` of ``codes``; ``windows_kept``: windows where the result beat the start, of ``windows``;
    ``rtf``: wall seconds over audio seconds.
    """

    input: Path
    tokens: Path
    audio: Path
    seconds: float
    frames: int
    steps: int
    start: dict[str, float]
    result: dict[str, float]
    codes_changed: int
    codes: int
    windows: int
    windows_kept: int
    wall_seconds: float
    rtf: float
    notes: tuple[str, ...] = ()


def optimize_file(
    path: Path,
    *,
    stem: Path,
    codec: HeartCodec,
    projection: EncoderProjection | None,
    projection_name: str | None,
    settings: OptimizeSettings,
    init: Sequence[str | Path] = (PROJECTION,),
    mixdown: bool = False,
    keep_start: bool = False,
    excerpt_seconds: float = 0.0,
    show: Callable[[Excerpt], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Refine one song; write ``stem`` + ``.tokens.npy``, ``.tokens.json`` and ``.optimized.wav``.

    The tokens are written last: where they are, everything is. Until then ``stem`` + `JOURNAL_SUFFIX` holds the windows
    that are done; a run of the same song with the same settings goes on from there.

    Args:
        projection: may be None where ``init`` does not ask for it.
        init: where to start: "projection", "random", token files; of several, each window takes the best.
        keep_start: also write ``.start.wav``, the first start's tokens decoded under the same noise.
        show: called with the first ``excerpt_seconds`` of the sounds before the tokens are written.

    Raises:
        AudioError, TokenError, CheckpointError, OutputError: the song, the start or the output folder cannot be used.
    """
    began = time.perf_counter()
    with AudioFile(path, mixdown=mixdown) as source:
        starts = [_start(name, source, codec, projection, settings) for name in init]
        journal = Journal(_named(stem, JOURNAL_SUFFIX), _journal_key(path, codec, starts, settings, mixdown))
        outcome = optimize_source(source, codec, starts, settings=settings, journal=journal, progress=progress)
        start, seconds = starts[0].cpu(), source.seconds
        audio, start_audio = _named(stem, ".optimized.wav"), _named(stem, ".start.wav")
        tokens = _named(stem, TOKEN_SUFFIX)
        _make_room(tokens, info_path(tokens), audio, start_audio, journal.path)
        wanted = round(excerpt_seconds * codec.config.sample_rate) if show is not None else 0
        paths = [start_audio if keep_start else None, audio]
        (before, after), sounds = _write_sound(
            codec, source, [start, outcome.tokens], paths, settings=settings, keep=wanted
        )
        if show is not None and sounds.shape[-1]:
            original = source.read(0, sounds.shape[-1]).expand(2, -1)
            show(Excerpt(original, sounds[0], sounds[1], outcome.curves, start, outcome.tokens))
    used = replace(settings, steps=outcome.steps)
    save_tokens(tokens, outcome.tokens, _token_info(codec, used, init, projection_name, mixdown, start, seconds))
    journal.remove()
    wall = time.perf_counter() - began
    return FileReport(
        input=path,
        tokens=tokens,
        audio=audio,
        seconds=seconds,
        frames=start.shape[-1],
        steps=outcome.steps,
        start=before,
        result=after,
        codes_changed=outcome.codes_changed,
        codes=start.numel(),
        windows=len(outcome.windows),
        windows_kept=sum(window.improved for window in outcome.windows),
        wall_seconds=wall,
        rtf=wall / seconds,
        notes=outcome.notes,
    )


def _write_sound(
    codec: HeartCodec,
    source: AudioSource,
    token_sets: list[Tensor],
    paths: Sequence[Path | None],
    *,
    settings: OptimizeSettings,
    keep: int,
) -> tuple[list[dict[str, float]], Tensor]:
    """Judge token sets ``[K, F]``, and write those sounds that have a path, as they come.

    Returns their metrics and the first ``keep`` samples of all sounds ``[sets, 2, n]``.
    """
    kept = [torch.empty(len(token_sets), 2, 0)]
    with ExitStack() as stack:
        writers = [None if path is None else stack.enter_context(AudioWriter(path)) for path in paths]

        def listen(piece: Tensor) -> None:
            piece = piece.cpu()
            if sum(own.shape[-1] for own in kept) < keep:
                kept.append(piece)
            for writer, sound in zip(writers, piece, strict=True):
                if writer is not None:
                    writer.write(sound)

        metrics = judge(codec, source, token_sets, settings=settings, listen=listen)
    return metrics, torch.cat(kept, dim=-1)[..., :keep]


def _token_info(
    codec: HeartCodec,
    settings: OptimizeSettings,
    init: Sequence[str | Path],
    projection_name: str | None,
    mixdown: bool,
    start: Tensor,
    seconds: float,
) -> TokenInfo:
    """What the tokens' JSON says of how they were made."""
    plan = codec.window_plan(settings.duration)
    return TokenInfo(
        codec=codec.name,
        fingerprint=codec.fingerprint(),
        projection=projection_name if PROJECTION in init else None,
        settings={
            "method": "optimize",
            "init": [str(name) for name in init],
            "dtype": _running(codec)[0],
            "mixdown": mixdown,
            **asdict(replace(settings, duration=plan.seconds, watch_every=0)),
        },
        frames=start.shape[-1],
        seconds=seconds,
    )


def _start(
    name: str | Path,
    source: AudioSource,
    codec: HeartCodec,
    projection: EncoderProjection | None,
    settings: OptimizeSettings,
) -> Tensor:
    """Tokens ``[K, F]`` to start from. Raises TokenError where a file's are not as long as the song."""
    if name == PROJECTION:
        if projection is None:
            raise ConfigError("starting from the projection needs one: give it, or another start")
        return tokenize_source(source, codec, projection)
    frames, levels, size = source_frames(codec, source), codec.config.num_quantizers, codec.config.codebook_size
    if name == RANDOM:
        return torch.randint(size, (levels, frames), generator=keyed_generator(settings.seed, "random codes"))
    tokens, info = load_tokens(name, num_quantizers=levels, codebook_size=size)
    if tokens.shape[-1] != frames:
        raise TokenError(f"{name}: holds {tokens.shape[-1]} frames; this song has {frames}: give its own tokens")
    if info is not None and info.fingerprint != codec.fingerprint():
        raise TokenError(f"{name}: made with another codec ({info.codec}); its codes mean nothing to this one")
    return tokens


def _running(codec: HeartCodec) -> tuple[str, str]:
    """The flow transformer's type and device: both change the last bits, and so the tokens."""
    weight = codec.flow_matching.cond_feature_emb.weight
    return str(weight.dtype).removeprefix("torch."), weight.device.type


def _journal_key(
    path: Path, codec: HeartCodec, starts: Sequence[Tensor], settings: OptimizeSettings, mixdown: bool
) -> str:
    """What the kept windows depend on: song, codec, starts, settings and version."""
    digest = hashlib.sha256()
    used = repr(replace(settings, watch_every=0))  # looking on changes nothing
    for part in (sha256_of(path), codec.fingerprint(), *_running(codec), used, str(mixdown), __version__):
        digest.update(part.encode() + b"\n")
    for tokens in starts:
        digest.update(tokens.cpu().numpy().tobytes())
    return digest.hexdigest()


def _make_room(tokens: Path, *others: Path) -> None:
    """Remove tokens of before, which do not belong to the sound that is written now, and what a killed run left."""
    try:
        tokens.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot replace {tokens}: {error.strerror or error}") from error
    for path in (tokens, *others):
        remove_leftovers(path)


def _named(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
