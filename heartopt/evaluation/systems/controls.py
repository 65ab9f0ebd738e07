"""The controls as systems: what no codec should be proud of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heartopt.evaluation import controls
from heartopt.evaluation.systems.base import Output, Place, Setup, Subject, System


class Silence(System):
    """Zeros."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        return Output(None, controls.silence(subject.target))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"control": "silence"}


class Noise(System):
    """Noise of the song's own spectrum and energy."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        return Output(None, controls.matched_noise(subject.target, subject.song_seed(setup.seed)))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"control": "noise", "seed": setup.seed, "index": place.index}


class AnotherSong(System):
    """The suite's next song."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        return Output(None, controls.another_song(subject.target, subject.other()))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"control": "another_song", "other": place.neighbour.identity()}


class RandomCodes(System):
    """Codes that were drawn uniformly."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        config = setup.codec.config
        codes = controls.random_codes(
            subject.target.shape[-1],
            num_quantizers=config.num_quantizers,
            codebook_size=config.codebook_size,
            seed=subject.song_seed(setup.seed),
        )
        return Output(codes)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"control": "random_codes", "seed": setup.seed, "index": place.index}


CONTROLS: Mapping[str, System] = {
    "random_codes": RandomCodes(),
    "another_song": AnotherSong(),
    "noise": Noise(),
    "silence": Silence(),
}
