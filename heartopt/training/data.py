"""From a folder of songs to cached latents, with a list of what was skipped and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from heartopt.audio import SAMPLE_RATE, FoundFile, find_audio
from heartopt.codec import HeartCodec
from heartopt.codec.encoding import Stretch
from heartopt.errors import AudioError, ConfigError, HeartoptError, OutputError, TokenError
from heartopt.training.audio_entry import AudioEntryWriter
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Song
from heartopt.training.encodings import LATENTS_ONLY, Encoding, Needs, UnsuitableSong, encode_stretches
from heartopt.training.prefetch import read_ahead
from heartopt.training.reading import MIN_SECONDS, Known, Piece, Wanted, read_song
from heartopt.training.stopping import Limits, StoppedEarly

__all__ = [
    "MIN_SECONDS", "Encoding", "Library", "Needs", "Skipped", "SongReady", "UnsuitableSong", "find_songs", "prepare",
]  # fmt: skip


@dataclass(frozen=True)
class Skipped:
    """A file that is not used, and why, in one line.

    `failed` is False where nothing is wrong with the file: a copy of another one, held out, too short, silent.
    """

    path: Path
    reason: str
    failed: bool = True


@dataclass(frozen=True)
class SongReady:
    """Progress: song `done` of `total` is ready (or skipped). `encoded` is False where the cache had it
    already.
    """

    done: int
    total: int
    name: str
    seconds: float
    encoded: bool


@dataclass(frozen=True)
class Library:
    """Songs that can be trained on. `encoded_seconds` of audio took `wall_seconds` to read and encode."""

    songs: tuple[Song, ...]
    skipped: tuple[Skipped, ...]
    encoded_seconds: float
    wall_seconds: float


def find_songs(source: Path) -> list[FoundFile]:
    """The audio files of a folder (recursive), or of a manifest: `.txt` or `.tsv`, a file a line.

    A manifest's paths are relative to its own folder; of a `.tsv` the column headed `path` counts, else the
    first. Empty lines and lines that begin with `#` are passed over. Files that are missing are found out
    when read.
    """
    if source.suffix.lower() not in (".txt", ".tsv"):
        return find_audio([source])
    try:
        lines = [line.rstrip("\r") for line in source.read_text(encoding="utf-8").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as a list of songs ({error})") from error
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    column = 0
    if rows and source.suffix.lower() == ".tsv" and "path" in rows[0]:
        column = rows[0].index("path")
        rows = rows[1:]
    names = [Path(row[column].strip()) for row in rows if len(row) > column and row[column].strip()]
    if not names:
        raise AudioError(f"{source}: the list names no songs")
    return [
        FoundFile(source.parent / name, Path(name.name) if name.is_absolute() or ".." in name.parts else name)
        for name in names
    ]


def prepare(
    found: Sequence[FoundFile],
    *,
    codec: HeartCodec,
    cache: LatentCache,
    encoding: Encoding,
    needs: Needs = LATENTS_ONLY,
    progress: Callable[[SongReady], None] | None = None,
    limits: Limits | None = None,
    share: tuple[int, int] = (0, 1),
    workers: int = 0,
) -> Library:
    """Make what the cache does not have yet; unusable files are skipped, each with its reason.

    `share` is (process, processes): each takes its own files of `found`. `workers` threads read ahead while the codec
    encodes; the result does not depend on their number.

    Raises:
        StoppedEarly: `limits`, looked at after every song, are reached; what is encoded stays in the cache.
        OutputError: an entry cannot be written, or the cache is full.
        ConfigError: the teacher's tokens are another codec's.
    """
    files = found[share[0] :: share[1]]
    codec.fingerprint()  # once, before threads ask for it
    wanted = Wanted(codec, cache, encoding, needs)
    songs: dict[str, Song] = {}
    skipped: list[Skipped] = []
    encoded_seconds = wall = 0.0
    with closing(read_ahead([partial(read_song, file, wanted) for file in files], workers)) as readings:
        for done, file in enumerate(files, start=1):
            began = time.perf_counter()
            made = _ready(file, next(readings), songs, wanted)
            if isinstance(made, Skipped):
                skipped.append(made)
            else:
                songs[made.song.digest] = made.song
            seconds = 0.0 if isinstance(made, Skipped) else made.song.frames * codec.hop / SAMPLE_RATE
            encoded = not isinstance(made, Skipped) and made.encoded
            if encoded:
                encoded_seconds += seconds
                wall += time.perf_counter() - began
            if progress:
                progress(SongReady(done, len(files), str(file.relative), seconds, encoded))
            if limits and (ended := limits.reached()):
                raise StoppedEarly(
                    ended,
                    f"ended ({ended}) before training: {done} of {len(files)} songs are read, and their latents are "
                    "kept; run the same command again to go on",
                )
    return Library(tuple(songs.values()), tuple(skipped), encoded_seconds, wall)


@dataclass(frozen=True)
class _Made:
    """A song that can be trained on; `encoded` is False where the cache had all of it."""

    song: Song
    encoded: bool


def _ready(file: FoundFile, reading: Iterator[Piece], songs: dict[str, Song], wanted: Wanted) -> _Made | Skipped:
    """The song of `file`, with all that the cache lacked made from the pieces of `reading`."""
    try:
        known = next(reading).known
        if known.digest in songs:
            return Skipped(file.path, f"the same content as {songs[known.digest].name}", failed=False)
        return _Made(_make(file, known, reading, wanted), bool(known.missing or known.listens))
    except (OutputError, ConfigError):  # not the song's fault
        raise
    except (AudioError, TokenError) as error:
        text = str(error)
        reason = text if str(file.path) in text or isinstance(error, TokenError) else f"{file.path}: {text}"
        return Skipped(file.path, reason, failed=not isinstance(error, UnsuitableSong))
    except HeartoptError as error:
        return Skipped(file.path, str(error))


def _make(file: FoundFile, known: Known, reading: Iterator[Piece], wanted: Wanted) -> Song:
    """Audio goes to the disk piece by piece, and gets its name with the last one; latents are stored after it."""
    cache, latents = wanted.cache, dict(known.latents)
    samples = known.frames * wanted.codec.samples_per_code
    if known.missing or known.listens:
        with ExitStack() as stack:
            audio = cache.store_audio(known.digest, wanted.audio_kind, channels=known.channels, samples=samples)
            writer = stack.enter_context(audio) if known.listens else None
            made = encode_stretches(_written(reading, writer), wanted.codec, known.missing)
        for encoding, values in made.items():
            latents[encoding] = cache.store(known.digest, encoding.name, values)
    return Song(
        path=file.path,
        name=str(file.relative),
        digest=known.digest,
        inputs=latents[wanted.encoding],
        targets=latents[wanted.encoding.target],
        audio=cache.find_audio(known.digest, wanted.audio_kind, samples) if known.listens else known.audio,
        tokens=known.tokens,
    )


def _written(reading: Iterator[Piece], writer: AudioEntryWriter | None) -> Iterator[Stretch]:
    for piece in reading:
        if piece.stretch is not None:
            if writer is not None:
                writer.write(piece.stretch.own)
            yield piece.stretch
