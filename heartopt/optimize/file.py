"""One song file: refined, judged and written."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from heartopt.audio import AudioFile, AudioWriter
from heartopt.codec.model import HeartCodec
from heartopt.optimize.judge import judge
from heartopt.optimize.settings import OptimizeSettings
from heartopt.optimize.song import Progress, optimize_source
from heartopt.projection import EncoderProjection, tokenize_source
from heartopt.tokens import TOKEN_SUFFIX, TokenInfo, save_tokens


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


def optimize_file(
    path: Path,
    *,
    stem: Path,
    codec: HeartCodec,
    projection: EncoderProjection,
    projection_name: str,
    settings: OptimizeSettings,
    mixdown: bool = False,
    keep_start: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> FileReport:
    """Refine one song; write ``stem`` + ``.tokens.npy``, ``.tokens.json`` and ``.optimized.wav``.

    ``keep_start`` also writes ``.start.wav``, the projection's tokens decoded under the same noise. The tokens are
    written last: where they are, everything is.

    Raises:
        AudioError, CheckpointError, OutputError: the song, the projection or the output folder cannot be used.
    """
    began = time.perf_counter()
    with AudioFile(path, mixdown=mixdown) as source:
        start = tokenize_source(source, codec, projection)
        outcome = optimize_source(source, codec, start, settings=settings, progress=progress)
        audio = _named(stem, ".optimized.wav")
        with ExitStack() as stack:
            writers = {1: stack.enter_context(AudioWriter(audio))}
            if keep_start:
                writers[0] = stack.enter_context(AudioWriter(_named(stem, ".start.wav")))

            def listen(piece: Tensor) -> None:
                for index, writer in writers.items():
                    writer.write(piece[index].cpu())

            before, after = judge(codec, source, [start.cpu(), outcome.tokens], settings=settings, listen=listen)
        seconds = source.seconds
    tokens = _named(stem, TOKEN_SUFFIX)
    plan = codec.window_plan(settings.duration)
    used = asdict(replace(settings, steps=outcome.steps, duration=plan.seconds))
    info = TokenInfo(
        codec=codec.name,
        fingerprint=codec.fingerprint(),
        projection=projection_name,
        settings={"method": "optimize", "mixdown": mixdown, **used},
        frames=start.shape[-1],
        seconds=seconds,
    )
    save_tokens(tokens, outcome.tokens, info)
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
    )


def _named(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
