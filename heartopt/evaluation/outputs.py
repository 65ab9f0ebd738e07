"""A system's output for one song: made when it is needed, or found where an earlier run kept it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from heartopt.evaluation.cache import number
from heartopt.evaluation.code_version import outputs_version
from heartopt.evaluation.cost import Meter
from heartopt.evaluation.fitting import fit_decoded
from heartopt.evaluation.plan import Plan
from heartopt.evaluation.systems import Output, Place, Subject
from heartopt.files import plain
from heartopt.metrics import Reference
from heartopt.seeding import keyed_generator


class SongAudio:
    """A song's sound, read when it is needed and only once."""

    def __init__(self, plan: Plan, place: Place) -> None:
        self._store, self.place = plan.store, place

    @cached_property
    def target(self) -> Tensor:
        """`[2, N]` at 48 kHz. Raises AudioError."""
        return aligned(self.place.song.read())

    @cached_property
    def reference(self) -> Reference:
        """The song as what all its systems are measured against. Raises AudioError."""
        return Reference(self.target)

    @cached_property
    def samples(self) -> int:
        """N; kept from run to run, so that a song of which everything is known need not be read. Raises AudioError."""
        key = {**self.place.song.identity(), "version": outputs_version()}
        kept = self._store.find("songs", key)
        if kept is not None and "target" not in self.__dict__:
            return int(kept.record["samples"])
        samples = self.target.shape[-1]
        if kept is None:
            self._store.keep("songs", key, {"samples": samples})
        return samples


@dataclass(frozen=True)
class Cost:
    """What an output cost to make; NaN where that is not known. See `Meter`."""

    wall_seconds: float
    peak_mb: float


class SystemOutput:
    """What a system gives for a song, and how it sounds.

    Tokens are kept from run to run. Audio is not, for it is large: a system that makes audio is run again where
    something more is to be measured of it.
    """

    def __init__(self, plan: Plan, audio: SongAudio, name: str) -> None:
        """`name`: the system's. Raises HeartoptError where something that the output depends on is missing."""
        self._plan, self._audio, self._system = plan, audio, plan.systems[name]
        self._key = _key(plan, audio.place, self._system.identity(plan.setup, audio.place))
        self._made: tuple[Output, Cost] | None = self._kept()
        #: Whether it was found, and no system had to run.
        self.found = self._made is not None

    @cached_property
    def digest(self) -> str:
        """All that it depends on, as one word."""
        return hashlib.sha256(json.dumps(plain(self._key), sort_keys=True).encode()).hexdigest()

    @property
    def output(self) -> Output:
        """The output; of audio that was made by an earlier run only what is known of it. Raises HeartoptError."""
        return (self._made or self._make())[0]

    @property
    def cost(self) -> Cost:
        """What it cost when it was made. Raises HeartoptError."""
        return (self._made or self._make())[1]

    @property
    def has_tokens(self) -> bool:
        """Whether it sounds differently under every judge seed. Raises HeartoptError."""
        return self.output.tokens is not None

    def sound(self, seed: int | None) -> Tensor:
        """Its audio `[2, N]`, the length of the song; of tokens as decoded under a judge seed. Raises HeartoptError.

        Every song has noise of its own, the same for all systems. One noise for all songs would move all of them
        together, which no interval over songs sees.
        """
        setup, output = self._plan.setup, self.output
        if output.tokens is None:
            audio = output.audio if output.audio is not None else self._make()[0].audio
            assert audio is not None
            return aligned(fit_decoded(audio, self._audio.samples))
        generator = keyed_generator("evaluate", seed or 0, self._audio.place.song.name)
        with torch.no_grad():
            decoded = setup.codec.detokenize(output.tokens, **asdict(setup.decoding), generator=generator)
        return aligned(fit_decoded(decoded, self._audio.samples, output.offset))

    def _make(self) -> tuple[Output, Cost]:
        plan, place = self._plan, self._audio.place
        subject = Subject(place.index, self._audio.target, place.neighbour.read, place.song)
        with Meter(plan.setup.codec.scalar_device) as meter:
            output = self._system(plan.setup, subject)
        self.found = False
        self._made = output, Cost(meter.wall_seconds, meter.peak_mb)
        tokens = None if output.tokens is None else output.tokens.cpu().numpy()
        facts = {"kbps": output.kbps, "note": output.note, "offset": output.offset, "timed": output.timed}
        plan.store.keep("outputs", self._key, {**facts, **asdict(self._made[1])}, tokens)
        return self._made

    def _kept(self) -> tuple[Output, Cost] | None:
        entry = self._plan.store.find("outputs", self._key)
        if entry is None:
            return None
        facts = dict(entry.record)
        cost = Cost(number(facts.pop("wall_seconds")), number(facts.pop("peak_mb")))
        tokens = None if entry.array is None else torch.from_numpy(entry.array)
        return Output(tokens, None, **{**facts, "kbps": number(facts["kbps"])}), cost


def aligned(audio: Tensor) -> Tensor:
    """A copy where torch puts its own tensors, on a border of 64 bytes.

    The last digits of vectorized sums and transforms hang on where in memory the samples lie, which for arrays of other
    libraries changes from process to process.
    """
    return audio.clone(memory_format=torch.contiguous_format)


def _key(plan: Plan, place: Place, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What an output depends on; JSON types."""
    codec = plan.setup.codec
    flow = next(codec.flow_matching.parameters())
    return {
        "song": place.song.identity(),
        "system": dict(identity),
        "codec": codec.fingerprint(),
        "dtype": str(codec.config.dtype),
        "device": flow.device.type,
        "version": outputs_version(),
    }
