"""Which songs are trained on and which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import AudioError
from heartopt.training.cache import LatentCache
from heartopt.training.crops import Song
from heartopt.training.data import Encoding, Library, Needs, Skipped, SongReady, find_songs, prepare
from heartopt.training.encodings import LATENTS_ONLY
from heartopt.training.stopping import Limits, StoppedEarly
from heartopt.training.watch import LOGGER
from heartopt.training.world import ALONE, World

#: Fewer training files than this is worth a warning.
FEW_FILES = 100
MOST_HELD_OUT = 8


@dataclass(frozen=True)
class SongSplit:
    """`training` and `held_out` songs, no content in both; `note` says where the held-out ones come from.

    `seconds` of training audio; `encoded_seconds` of both were not in the cache and took this process `encoding_wall`
    seconds.
    """

    training: tuple[Song, ...]
    held_out: tuple[Song, ...]
    skipped: tuple[Skipped, ...]
    note: str
    seconds: float
    encoded_seconds: float
    encoding_wall: float

    @property
    def digest(self) -> str:
        """What is trained on, in one SHA-256 over the songs' content."""
        return hashlib.sha256("\n".join(sorted(song.digest for song in self.training)).encode()).hexdigest()


def split_songs(
    data_dir: Path,
    val_dir: Path | None,
    *,
    codec: HeartCodec,
    cache: LatentCache,
    encoding: Encoding,
    progress: Callable[[SongReady], None] | None,
    needs: Needs = LATENTS_ONLY,
    limits: Limits | None = None,
    world: World = ALONE,
    workers: int = 0,
) -> SongSplit:
    """Prepare both folders. A held-out song is never trained on, whichever folders it lies in.

    Of several processes each encodes its share; then each finds all in the cache. A teacher (`needs.tokens`) is asked
    for the songs of `data_dir` alone: its tokens are learnt from, not judged by.

    Raises:
        StoppedEarly: `limits` are reached while songs are read.
        AudioError: no usable song in `data_dir` or `val_dir`, or none left to train on.
    """

    def library(source: Path, needs: Needs) -> Library:
        found = find_songs(source)

        def part(share: tuple[int, int]) -> Library:
            return prepare(
                found,
                codec=codec,
                cache=cache,
                encoding=encoding,
                needs=needs,
                progress=progress,
                limits=limits,
                share=share,
                workers=workers,
            )

        made = _together(partial(part, (0, 1)), world, shared=partial(part, (world.rank, world.size)))
        if not made.songs:
            first = f"; the first: {made.skipped[0].reason}" if made.skipped else ""
            raise AudioError(f"{source}: none of {len(made.skipped)} files can be used{first}")
        return made

    libraries = [library(data_dir, needs)]
    skipped = list(libraries[0].skipped)
    if val_dir is None:
        training, held_out, note = hold_out(libraries[0].songs)
    else:
        libraries.append(library(val_dir, replace(needs, audio=False, tokens=None)))
        skipped += libraries[1].skipped
        held_out, note = libraries[1].songs, "given"
        judged = {song.digest for song in held_out}
        skipped += [
            Skipped(song.path, "held out: also in the validation songs", failed=False)
            for song in libraries[0].songs
            if song.digest in judged
        ]
        training = tuple(song for song in libraries[0].songs if song.digest not in judged)
        if not training:
            raise AudioError(f"{data_dir}: every song is also in {val_dir}; nothing is left to train on")
    seconds = sum(song.frames for song in training) * codec.hop / SAMPLE_RATE
    encoded = sum(one.encoded_seconds for one in libraries)
    wall = sum(one.wall_seconds for one in libraries)
    LOGGER.info(
        "%d training songs (%.2f h), %d held out (%s), %d files skipped; encoded %.0f s of audio in %.1f s",
        len(training), seconds / 3600, len(held_out), note, len(skipped), encoded, wall,
    )  # fmt: skip
    if (given := len(libraries[0].songs if val_dir is None else training)) < FEW_FILES:
        LOGGER.warning("only %d songs: a projection generalizes from %d on", given, FEW_FILES)
    return SongSplit(training, held_out, tuple(skipped), note, seconds, encoded, wall)


def _together(whole: Callable[[], Library], world: World, *, shared: Callable[[], Library]) -> Library:
    """`whole()`, after every process has done its share of it.

    A process that is stopped tells the others, which stop too instead of waiting for it.
    """
    if world.size == 1:
        return whole()
    own = _unless_stopped(shared, world)
    made = _unless_stopped(whole, world)
    return replace(
        made,
        encoded_seconds=own.encoded_seconds + made.encoded_seconds,
        wall_seconds=own.wall_seconds + made.wall_seconds,
    )


def _unless_stopped(work: Callable[[], Library], world: World) -> Library:
    """`work()` in every process; waits for all."""
    early: StoppedEarly | None = None
    try:
        made = work()
    except StoppedEarly as error:
        early = error
    if world.any(early is not None):
        raise early or StoppedEarly("stopped", "ended before training: another process was stopped; run it again")
    return made


def hold_out(songs: Sequence[Song]) -> tuple[tuple[Song, ...], tuple[Song, ...], str]:
    """(training, held out, note): a tenth of the songs, 1 to 8, chosen by content so that the choice is
    stable.
    """
    if len(songs) == 1:
        LOGGER.warning("one song only: it is judged on what it is trained on; give --val-dir")
        return tuple(songs), tuple(songs), "the training song itself"
    count = max(1, min(MOST_HELD_OUT, len(songs) // 10))
    chosen = {song.digest for song in sorted(songs, key=lambda song: song.digest)[:count]}
    return (
        tuple(song for song in songs if song.digest not in chosen),
        tuple(song for song in songs if song.digest in chosen),
        "a tenth of the songs",
    )
