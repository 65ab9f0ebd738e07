"""Systems by name: what a command line or a suite calls them, and what that stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.evaluation.lossy import LOSSY_CODECS
from heartopt.evaluation.oracle import has_oracle
from heartopt.evaluation.systems.base import System
from heartopt.evaluation.systems.builtin import Optimize, Oracle, Projection, ScalarRoundtrip
from heartopt.evaluation.systems.controls import CONTROLS
from heartopt.evaluation.systems.custom import PythonSystem
from heartopt.evaluation.systems.folders import AudioFolder, TokenFolder
from heartopt.evaluation.systems.lossy import Lossy
from heartopt.optimize import PRESETS

#: The systems that a name alone stands for, without anything to look for.
SYSTEMS: Mapping[str, System] = {
    "projection": Projection(),
    "optimized": Optimize(None),
    "oracle": Oracle(),
    "scalar_roundtrip": ScalarRoundtrip(),
    **CONTROLS,
}
#: Those of them that begin with a projection.
NEED_PROJECTION = frozenset(name for name, system in SYSTEMS.items() if system.needs_projection)

_Maker = Callable[["SystemSpec", str], System]
_WITH_ARGUMENT: Mapping[str, _Maker] = {
    "projection": lambda spec, path: Projection(spec.path(path)),
    "optimize": lambda spec, preset: Optimize(preset, spec.settings),
    "tokens": lambda spec, path: TokenFolder(spec.system, spec.path(path)),
    "audio": lambda spec, path: AudioFolder(spec.system, spec.path(path)),
    **{name: lambda spec, kbps: Lossy(spec.system.partition(":")[0], kbps) for name in LOSSY_CODECS},
    "python": lambda spec, target: PythonSystem(target, spec.settings),
}
_TAKE_SETTINGS = ("optimized", "optimize", "python")
#: Every way to name a system, for help and messages.
FORMS = (
    *SYSTEMS,
    "projection:FILE",
    f"optimize:{'|'.join(PRESETS)}",
    "tokens:FOLDER",
    "audio:FOLDER",
    *(f"{name}:KBPS" for name in LOSSY_CODECS),
    "python:MODULE.FUNCTION",
)


@dataclass(frozen=True)
class SystemSpec:
    """A system as it was asked for.

    Attributes:
        name: what rows call it.
        system: what it is: one of `FORMS`.
        settings: of `optimized`, `optimize:PRESET` (names of `OptimizeSettings`) and `python:…` (keyword arguments).
        folder: what relative paths in `system` are relative to; None: the working folder.
    """

    name: str
    system: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str, folder: Path | None = None) -> SystemSpec:
        """`SYSTEM` or `NAME=SYSTEM`. Raises ConfigError for an empty name or system."""
        name, equals, system = text.partition("=")
        if not equals or ":" in name:  # a path may have one
            name = system = text
        name, system = name.strip(), system.strip()
        if not name or not system:
            raise ConfigError(f"system {text!r}: write SYSTEM or NAME=SYSTEM")
        return cls(name, system, folder=folder)

    def path(self, text: str) -> Path:
        """A path in the spec."""
        path = Path(text).expanduser()
        return path if self.folder is None else self.folder / path

    def make(self) -> System:
        """The system itself.

        Raises:
            ConfigError: unknown, a name that belongs to another system, settings that it does not take, a folder that
                is not there, a function that cannot be imported, a bitrate that the codec does not have.
        """
        kind, colon, argument = self.system.partition(":")
        if self.settings and kind not in _TAKE_SETTINGS:
            raise ConfigError(f"system {self.name}: {self.system} takes no settings")
        _check_name(self.name, self.system)
        if colon and argument and kind in _WITH_ARGUMENT:
            return _WITH_ARGUMENT[kind](self, argument)
        if self.system not in SYSTEMS:
            raise ConfigError(f"unknown system {self.system}: choose from {', '.join(FORMS)}")
        return Optimize(None, self.settings) if self.system == "optimized" else SYSTEMS[self.system]

    def to_json(self) -> dict[str, Any]:
        """What a report should say of it."""
        record = {"name": self.name, "system": self.system}
        return {**record, "settings": dict(self.settings)} if self.settings else record


def _check_name(name: str, system: str) -> None:
    """Names of controls and of other systems would be taken for them. Raises ConfigError."""
    kind = system.partition(":")[0]
    if system in CONTROLS and name != system:
        raise ConfigError(f"system {name}={system}: a control keeps its own name")
    family = {"optimize": "optimized"}.get(kind, kind)
    if name in SYSTEMS and name not in (system, family):
        raise ConfigError(f"system {name}={system}: {name} is the name of another system; choose another")


def default_systems(codec: HeartCodec, songs: int) -> tuple[str, ...]:
    """All of `SYSTEMS` but the impossible: a codec's missing oracle, another song where there is only one."""
    impossible = set() if has_oracle(codec) else {"oracle"}
    if songs < 2:
        impossible.add("another_song")
    return tuple(name for name in SYSTEMS if name not in impossible)


def check_systems(specs: Sequence[SystemSpec], codec: HeartCodec, songs: int) -> dict[str, System]:
    """The systems by their rows' names. Raises ConfigError for unknown, repeated and impossible ones."""
    made = {spec.name: spec.make() for spec in specs}
    names = [spec.name for spec in specs]
    if not names or len(made) < len(names):
        raise ConfigError(f"systems must be named once each, not {', '.join(names) or '(none)'}")
    possible = default_systems(codec, songs)
    if impossible := [spec.system for spec in specs if spec.system in SYSTEMS and spec.system not in possible]:
        reason = "the codec has no encoder of its own" if "oracle" in impossible else "there is only one song"
        raise ConfigError(f"system {impossible[0]} is not possible here: {reason}")
    return made
