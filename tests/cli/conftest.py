"""The command line, called in this process, and small songs for it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from heartopt import EncoderProjection, HeartCodec
from heartopt.cli.main import main
from heartopt.projection import save_projection
from heartopt.tokens import TokenInfo, save_tokens

RATE = 48_000


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def one_line_error(self) -> str:
        """The error, after checking that it is the one line of standard error and no traceback."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0]


Heartopt = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command keeps from run to run stays in the test."""
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def heartopt(capfd: pytest.CaptureFixture[str]) -> Heartopt:
    """Call `heartopt ARGS…`; what libraries write straight to the file descriptors is seen too."""

    def call(*args: object) -> Ran:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call


def tones(seconds: float, *, rate: int = RATE, channels: int = 2, seed: int = 0) -> np.ndarray[Any, Any]:
    """A few decaying tones and a little noise, `[N, C]` float64 within ±0.5."""
    random = np.random.default_rng(seed)
    time = np.arange(max(1, round(seconds * rate))) / rate
    audio = 0.01 * random.standard_normal((len(time), channels))
    for frequency in (110, 220, 277, 330, 1320):
        phases = random.uniform(0, 2 * np.pi, channels)
        audio += 0.08 * np.exp(-2 * time)[:, None] * np.sin(2 * np.pi * frequency * time[:, None] + phases)
    return audio


@pytest.fixture
def make_song(tmp_path: Path) -> Callable[..., Path]:
    """Write a song below the test's folder, another one for each name: `make_song("a/b.wav", seconds=0.5)`."""

    def make(name: str = "song.wav", *, seconds: float = 0.5, rate: int = RATE, channels: int = 2) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = tones(seconds, rate=rate, channels=channels, seed=zlib.crc32(name.encode()))
        soundfile.write(path, audio, rate)
        return path

    return make


@pytest.fixture(scope="session")
def projection_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained projection that fits the embedded codec."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("projection") / "small.safetensors"
    save_projection(EncoderProjection(256, 512, 32, projection_type="linear"), path, {})
    return path


@pytest.fixture(scope="session")
def mini() -> HeartCodec:
    """The embedded codec."""
    return HeartCodec.from_pretrained("mini")


@pytest.fixture
def make_tokens(tmp_path: Path, mini: HeartCodec) -> Callable[..., Path]:
    """Write random tokens for the embedded codec: `make_tokens("a/b", frames=5)` below the test's folder."""

    def make(name: str = "song", *, frames: int = 5, **changes: Any) -> Path:
        random = torch.Generator().manual_seed(1)
        shape = (mini.config.num_quantizers, frames)
        tokens = torch.randint(mini.config.codebook_size, shape, generator=random)
        facts: dict[str, Any] = {
            "codec": "mini",
            "fingerprint": mini.fingerprint(),
            "projection": None,
            "settings": {},
            "frames": frames,
            "seconds": frames / 12.5 - 0.03,
        }
        path = tmp_path / f"{name}.tokens.npy"
        save_tokens(path, tokens, TokenInfo(**{**facts, **changes}))
        return path

    return make
