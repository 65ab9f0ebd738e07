"""heartopt's own systems: projections, their refinement, the codec's withheld encoder, and its waveform part alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from heartopt.audio import AudioTensor
from heartopt.codec.loading import fingerprint
from heartopt.codec.windows import WindowPlan, crossfade
from heartopt.errors import ConfigError
from heartopt.evaluation.oracle import oracle_codes
from heartopt.evaluation.systems.base import Output, Place, Setup, Subject, System
from heartopt.optimize import PRESETS, FlowSettings, OdeSettings, OptimizeSettings, optimize_source
from heartopt.projection import EncoderProjection, check_fits, load_projection, tokenize_source

_Settings = TypeVar("_Settings", OptimizeSettings, FlowSettings, OdeSettings)


class Projection(System):
    """A projection's tokens: those of the run's own projection, or of the one in a file."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._loaded: EncoderProjection | None = None
        self.needs_projection = path is None

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        self.prepare(setup)
        return Output(_tokens(setup, subject, self._loaded or setup.projection))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        self.prepare(setup)
        return {"projection": digest_of(self._loaded or setup.projection)}

    def prepare(self, setup: Setup) -> None:
        if self._path is not None and self._loaded is None:
            projection = load_projection(self._path)
            check_fits(projection, setup.codec)
            self._loaded = projection.to(setup.codec.scalar_device)


class Optimize(System):
    """The run's projection's tokens, refined for each song.

    Args:
        preset: one of `PRESETS`; None: the run's own settings.
        changes: to them, by the names of `OptimizeSettings`.

    Raises:
        ConfigError: an unknown preset or setting, or one that makes no sense.
    """

    needs_projection = True

    def __init__(self, preset: str | None, changes: Mapping[str, Any] | None = None) -> None:
        if preset is not None and preset not in PRESETS:
            raise ConfigError(f"system optimize:{preset}: there is no such preset; choose from {', '.join(PRESETS)}")
        self._preset = preset
        self._changes = _checked_changes(changes or {})
        self.settings(OptimizeSettings())  # refuses values that make no sense

    def settings(self, base: OptimizeSettings) -> OptimizeSettings:
        """The settings of this system; decoding and seed are those of `base`, the run's."""
        if self._preset is None:
            return _changed(base, self._changes)
        fixed = {name: getattr(base, name) for name in ("duration", "num_steps", "guidance_scale", "seed")}
        return _changed(OptimizeSettings(**fixed), {**PRESETS[self._preset], **self._changes})

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        start = _tokens(setup, subject, setup.projection)
        source = AudioTensor(subject.target)
        return Output(optimize_source(source, setup.codec, start, settings=self.settings(setup.optimize)).tokens)

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        # The device's own speed decides how far a budget of seconds goes, so its result is one of many.
        return {"optimize": asdict(self.settings(setup.optimize)), "projection": digest_of(setup.projection)}


class Oracle(System):
    """The codes of the embedded codec's withheld encoder."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        return Output(oracle_codes(subject.target, setup.codec))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"oracle": setup.codec.name}


class ScalarRoundtrip(System):
    """ScalarModel there and back, in the decoder's own windows: what perfect latents would sound like."""

    def __call__(self, setup: Setup, subject: Subject) -> Output:
        codec, samples = setup.codec, subject.target.shape[-1]
        plan = WindowPlan.of_duration(setup.decoding.duration)
        with torch.no_grad():
            latents = codec.encode_latents(subject.target[None])
            frames = latents.shape[1] // 2
            blocks = (
                codec.decode_latents(latents[:, 2 * window.start : 2 * (window.start + window.real)])
                for window in plan.windows(frames)
            )
            overlap, length = plan.overlap * codec.samples_per_code, frames * codec.samples_per_code
            audio = torch.cat(list(crossfade(blocks, overlap, length)), dim=-1)
        return Output(None, audio[0, :, :samples].to(subject.target))

    def identity(self, setup: Setup, place: Place) -> Mapping[str, Any]:
        return {"scalar_roundtrip": setup.decoding.duration}


def digest_of(projection: EncoderProjection | None) -> str:
    """The SHA-256 of a projection's weights and settings; "" for none."""
    if projection is None:
        return ""
    return fingerprint([(repr(sorted(projection.settings.items())), torch.zeros(0)), *projection.state_dict().items()])


def _tokens(setup: Setup, subject: Subject, projection: EncoderProjection | None) -> Tensor:
    if projection is None:
        raise ConfigError("the systems projection, optimized and optimize:PRESET need a projection")
    return tokenize_source(AudioTensor(subject.target), setup.codec, projection)


def _checked_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, with those of the two phases as mappings. Raises ConfigError."""
    fixed = ("duration", "num_steps", "guidance_scale")
    known = [name for name in OptimizeSettings.__dataclass_fields__ if name not in fixed]
    if unknown := [name for name in changes if name not in known]:
        raise ConfigError(f"optimize has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    return dict(changes)


def _changed(settings: _Settings, changes: Mapping[str, Any], within: str = "") -> _Settings:
    """`settings` with `changes`, as YAML or JSON has them. Raises ConfigError."""
    made: dict[str, Any] = {}
    for name, value in changes.items():
        where = f"{within}{name}"
        if name not in {entry.name for entry in fields(settings)}:
            raise ConfigError(f"optimize has no setting {where}")
        known: Any = getattr(settings, name)
        if name in ("flow", "ode") and isinstance(value, Mapping):
            made[name] = _changed(known, value, f"{name}.")
        elif _fits(value, known):
            made[name] = tuple(value) if isinstance(value, list) else value
        else:
            raise ConfigError(f"optimize's setting {where} is {value!r}: give it as its default, {known}")
    try:
        return replace(settings, **made)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimize's settings: {' '.join(str(error).split())}") from error


def _fits(value: Any, known: Any) -> bool:
    """Whether a value is of the kind of the one that it replaces; None stands for a number."""
    if isinstance(known, tuple) and isinstance(value, (list, tuple)):
        return len(value) == len(known) and all(map(_fits, value, known))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if known is None or value is None:
        return value is None or number
    if isinstance(known, float):
        return number
    return type(value) is type(known)
