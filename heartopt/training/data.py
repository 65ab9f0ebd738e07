"""From a folder of songs to cached latents, with a list of what was skipped and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from heartopt.audio import SAMPLE_RATE, AudioFile, AudioSource, FoundFile, find_audio
from heartopt.codec import HeartCodec
from heartopt.codec.encoding import stereo_latents
from heartopt.errors import AudioError, ConfigError, HeartoptError
from heartopt.files import sha256_of
from heartopt.losses import SILENCE
from heartopt.training.cache import LatentCache, LatentFile
from heartopt.training.crops import Song
from heartopt.training.stopping import Limits, StoppedEarly

#: Songs are encoded in pieces of this many latent frames (61.44 s): memory does not grow with their length.
PIECE = 1536
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class Encoding:
    """What a projection reads: the latents of the channels' mean or of left | right, after the tanh.

    `max_seconds`: only that much of each song, from its middle; None is all of it.
    """

    mono: bool
    max_seconds: float | None = None

    @property
    def name(self) -> str:
        """Part of the cache entry's name."""
        part = "whole" if self.max_seconds is None else f"{self.max_seconds:g}s"
        return f"{'mean' if self.mono else 'stereo'}-tanh-{part}"

    @property
    def target(self) -> Encoding:
        """What the decoder is trained towards: always stereo."""
        return Encoding(mono=False, max_seconds=self.max_seconds)


class UnsuitableSong(AudioError):
    """A song that can be read, but that nothing can be learnt from."""


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


@torch.no_grad()
def encode_song(source: AudioSource, codec: HeartCodec, encodings: Sequence[Encoding]) -> dict[Encoding, Tensor]:
    """Each encoding's latents `[L, C]` of one song, read once; all encodings cover the same part of it.

    Pieces are read with the encoder's whole receptive field before them, so the result is that of one piece.

    Raises:
        UnsuitableSong: silent.
        AudioError: unreadable, or with latents that are not finite.
    """
    (limit,) = {encoding.max_seconds for encoding in encodings}
    start, stop = _part(source.num_samples, limit, codec.samples_per_code)
    context = codec.scalar_model.encoder_context
    context += context % 2
    pieces: dict[Encoding, list[Tensor]] = {encoding: [] for encoding in encodings}
    peak = 0.0
    for first in range(start, stop, PIECE * codec.hop):
        begin = max(0, first - context * codec.hop)
        audio = source.read(begin, min(stop, first + PIECE * codec.hop))
        peak = max(peak, float(audio[:, first - begin :].abs().max()))
        with parametrize.cached():  # weight norm once a piece, not once a chunk
            for encoding in encodings:
                heard = audio.mean(0, keepdim=True) if encoding.mono else audio
                latents = codec.encode_channels(heard[None])[0]
                flat = latents[0] if encoding.mono else stereo_latents(latents)
                pieces[encoding].append(flat[(first - begin) // codec.hop :].cpu())
    if peak < SILENCE:
        raise UnsuitableSong("silent: no sample is above -80 dB")
    latents_of = {encoding: torch.cat(parts) for encoding, parts in pieces.items()}
    if not all(bool(torch.isfinite(latents).all()) for latents in latents_of.values()):
        raise AudioError("the codec gives latents that are not finite")
    return latents_of


def prepare(
    found: Sequence[FoundFile],
    *,
    codec: HeartCodec,
    cache: LatentCache,
    encoding: Encoding,
    progress: Callable[[SongReady], None] | None = None,
    limits: Limits | None = None,
) -> Library:
    """Encode what the cache does not have yet; unusable files are skipped, each with its reason.

    Raises:
        StoppedEarly: `limits`, looked at after every song, are reached; what is encoded stays in the cache.
    """
    songs: dict[str, Song] = {}
    skipped: list[Skipped] = []
    encoded_seconds = wall = 0.0
    for done, file in enumerate(found, start=1):
        began = time.perf_counter()
        song, encoded, reason, failed = None, False, "", True
        try:
            digest = sha256_of(file.path)
            if digest in songs:
                reason, failed = f"the same content as {songs[digest].name}", False
            else:
                song, encoded = _prepare_song(file, digest, codec=codec, cache=cache, encoding=encoding)
                songs[digest] = song
        except AudioError as error:
            reason, failed = str(error), not isinstance(error, UnsuitableSong)
        except HeartoptError as error:
            if file.path.is_file():  # the cache's folder is at fault, not the song
                raise
            reason = str(error)
        if reason:
            skipped.append(Skipped(file.path, reason, failed))
        seconds = song.frames * codec.hop / SAMPLE_RATE if song else 0.0
        if encoded:
            encoded_seconds += seconds
            wall += time.perf_counter() - began
        if progress:
            progress(SongReady(done, len(found), str(file.relative), seconds, encoded))
        if limits and (ended := limits.reached()):
            raise StoppedEarly(
                ended,
                f"ended ({ended}) before training: {done} of {len(found)} songs are read, and their latents are "
                "kept; run the same command again to go on",
            )
    return Library(tuple(songs.values()), tuple(skipped), encoded_seconds, wall)


def _prepare_song(
    file: FoundFile, digest: str, *, codec: HeartCodec, cache: LatentCache, encoding: Encoding
) -> tuple[Song, bool]:
    encodings = list(dict.fromkeys([encoding, encoding.target]))
    entries: dict[Encoding, LatentFile | None] = {one: cache.find(digest, one.name) for one in encodings}
    missing = [one for one, entry in entries.items() if entry is None]
    if missing:
        with AudioFile(file.path) as source:
            if source.seconds < MIN_SECONDS:
                raise UnsuitableSong(f"{file.path}: too short ({source.seconds:.2f} s; songs need {MIN_SECONDS:g} s)")
            try:
                encoded = encode_song(source, codec, missing)
            except AudioError as error:
                text = str(error)
                raise type(error)(text if str(file.path) in text else f"{file.path}: {text}") from error
        for one, latents in encoded.items():
            entries[one] = cache.store(digest, one.name, latents)
    inputs, targets = entries[encoding], entries[encoding.target]
    assert inputs is not None and targets is not None
    return Song(file.path, str(file.relative), digest, inputs, targets), bool(missing)


def _part(samples: int, limit: float | None, grid: int) -> tuple[int, int]:
    """The middle `limit` seconds as sample positions, from a multiple of `grid` on (the song's own code
    frames).
    """
    if limit is None or limit * SAMPLE_RATE >= samples:
        return 0, samples
    wanted = round(limit * SAMPLE_RATE) // grid * grid
    start = (samples - wanted) // 2 // grid * grid
    return start, start + wanted
