"""What is to be judged and how: the arguments of an evaluation, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.evaluation.cache import Store
from heartopt.evaluation.suites import Suite, files_suite, load_suite
from heartopt.evaluation.systems import (
    BASELINE,
    SYSTEMS,
    Decoding,
    Place,
    Setup,
    System,
    SystemSpec,
    check_systems,
    default_systems,
)
from heartopt.evaluation.systems.custom import working_folder_importable
from heartopt.metrics import DEFAULT_METRICS, check_metrics
from heartopt.metrics.frechet import Embedder, load_embedder
from heartopt.optimize import OptimizeSettings
from heartopt.projection import EncoderProjection, check_fits, default_projection
from heartopt.version import __version__

JUDGE_SEEDS = (101, 102)
EMBEDDER = "spectral"


@dataclass(frozen=True, kw_only=True)
class Request:
    """An evaluation as it is asked for: see `evaluate` for what everything means."""

    codec: HeartCodec
    suite: Suite | str | Path | None = None
    files: Sequence[str | Path] | None = None
    systems: Sequence[str | SystemSpec] | None = None
    projection: EncoderProjection | None = None
    projection_name: str | None = None
    metrics: Sequence[str] | None = None
    against: str | None = None
    seeds: Sequence[int] | None = None
    duration: float | None = None
    num_steps: int = 10
    guidance_scale: float = 1.25
    optimize: OptimizeSettings | None = None
    embedder: str | Embedder | None = EMBEDDER
    seed: int = 0
    mixdown: bool = False
    cache: str | Path | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A request with everything in its place; `request` has suite and systems resolved, so another process can
    make the same plan of it.

    Attributes:
        suite: the songs.
        specs, systems: what rows call each system, what it is, and the system itself.
        setup: what systems work with.
        metrics, seeds: what is measured, and the judge seeds.
        against: the system that differences are taken from.
        embedder: of the Fréchet distance; None: it is not computed.
        store: what is kept from run to run.
    """

    request: Request
    suite: Suite
    specs: tuple[SystemSpec, ...]
    systems: Mapping[str, System]
    setup: Setup
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    against: str
    embedder: Embedder | None
    store: Store

    def place(self, index: int) -> Place:
        """A song by its number."""
        songs = self.suite.songs
        return Place(index, songs[index], songs[(index + 1) % len(songs)])

    def find(self, file: str) -> Place:
        """A song by the name that rows call it. Raises ConfigError."""
        for index, song in enumerate(self.suite.songs):
            if song.name == file:
                return self.place(index)
        raise ConfigError(f"the suite {self.suite.name} has no song {file}")

    def settings(self) -> dict[str, Any]:
        """How it is run, for the report: JSON types only."""
        setup, given = self.setup, self.request
        unnamed = "the codec's default" if given.projection is None else "a given one"
        return {
            "heartopt": __version__,
            "codec": setup.codec.name,
            "fingerprint": setup.codec.fingerprint(),
            "projection": None if setup.projection is None else given.projection_name or unnamed,
            "systems": list(self.systems),
            "specs": [spec.to_json() for spec in self.specs if spec.name != spec.system or spec.settings],
            "songs": len(self.suite.songs),
            "judge_seeds": list(self.seeds),
            "decoding": asdict(setup.decoding),
            "optimize": asdict(setup.optimize) if "optimized" in [spec.system for spec in self.specs] else None,
            "embedder": None if self.embedder is None else self.embedder.name,
            "seed": setup.seed,
            "torch_threads": torch.get_num_threads(),
        }


def make_plan(request: Request) -> Plan:
    """Check a request and load what it needs, but no song. Raises as `evaluate`."""
    codec = request.codec
    suite = _suite(request)
    specs = _specs(request.systems, suite, codec)
    systems = check_systems(specs, codec, len(suite.songs))
    given, own = request.seeds, suite.seeds
    seeds = tuple(JUDGE_SEEDS if given is None and own is None else given or own or ())
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"judge seeds must be one or more different numbers, not {list(seeds)}")
    decoding = Decoding(codec.window_plan(request.duration).seconds, request.num_steps, request.guidance_scale)
    metrics = check_metrics(request.metrics or suite.metrics or DEFAULT_METRICS)
    setup = Setup(
        codec=codec,
        projection=_projection(request, systems),
        decoding=decoding,
        optimize=replace(request.optimize or OptimizeSettings(), **asdict(decoding)),
        seed=request.seed,
        mixdown=request.mixdown,
    )
    for system in systems.values():
        system.prepare(setup)
    with working_folder_importable():
        embedder = load_embedder(request.embedder) if isinstance(request.embedder, str) else request.embedder
    return Plan(
        request=replace(request, suite=suite, files=None, systems=specs),
        suite=suite,
        specs=specs,
        systems=systems,
        setup=setup,
        metrics=metrics,
        seeds=seeds,
        against=_against(request.against or suite.against, systems),
        embedder=embedder,
        store=Store(None if request.cache is None else Path(request.cache)),
    )


def _suite(request: Request) -> Suite:
    suite, files = request.suite, request.files
    if (suite is None) == (not files):
        raise ConfigError("give a suite or audio files to evaluate, and not both")
    if files:
        return files_suite([Path(file) for file in files], mixdown=request.mixdown)
    return suite if isinstance(suite, Suite) else load_suite(Path(str(suite)))


def _specs(
    given: Sequence[str | SystemSpec] | None, suite: Suite, codec: HeartCodec
) -> tuple[SystemSpec, ...]:
    """The systems that are asked for, where a name may be one of the suite's; else the suite's; else all possible.

    Of the suite's and of all, those that are impossible here are left out.
    """
    own = {spec.name: spec for spec in suite.systems or ()}
    if given:
        return tuple(_spec(entry, own) for entry in given)
    possible = default_systems(codec, len(suite.songs))
    if suite.systems is None:
        return tuple(SystemSpec(name, name) for name in possible)
    return tuple(spec for spec in suite.systems if spec.system in possible or spec.system not in SYSTEMS)


def _spec(entry: str | SystemSpec, own: Mapping[str, SystemSpec]) -> SystemSpec:
    if isinstance(entry, SystemSpec):
        return entry
    return own[entry] if entry in own else SystemSpec.parse(entry)


def _projection(request: Request, systems: Mapping[str, System]) -> EncoderProjection | None:
    if not any(system.needs_projection for system in systems.values()):
        return None
    projection = request.projection or default_projection(request.codec)
    check_fits(projection, request.codec)
    return projection.to(request.codec.scalar_device)


def _against(name: str | None, systems: Mapping[str, System]) -> str:
    if name is not None and name not in systems:
        raise ConfigError(f"differences against {name}: it is not judged here; choose from {', '.join(systems)}")
    return name or BASELINE
