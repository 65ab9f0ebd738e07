"""Small songs and the embedded codec."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.projection import EncoderProjection


def chord(seconds: float, *, base: float = 220.0, seed: int = 0) -> Tensor:
    """A stereo chord over a little noise, `[2, N]` at 48 kHz."""
    samples = round(seconds * 48_000)
    time = torch.arange(samples) / 48_000
    partials = base * torch.tensor([1.0, 1.5, 3.0, 8.0])[:, None]
    tones = (torch.sin(2 * torch.pi * partials * time) / torch.arange(1, 5)[:, None]).sum(dim=0)
    noise = torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))
    return 0.1 * tones + 0.01 * noise


@pytest.fixture(scope="session")
def codec() -> HeartCodec:
    return HeartCodec.from_pretrained("mini")


@pytest.fixture(scope="session")
def projection(codec: HeartCodec) -> EncoderProjection:
    torch.manual_seed(3)
    width = codec.config.latent_hidden_dim
    return EncoderProjection(width, codec.config.dim, 16, projection_type="linear").requires_grad_(False).eval()


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder with two songs of 0.7 s and 0.5 s."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for name, seconds, base in (("a.wav", 0.7, 220.0), ("b.flac", 0.5, 330.0)):
        soundfile.write(folder / name, chord(seconds, base=base).T.numpy(), 48_000)
    return folder


@pytest.fixture
def quick(codec: HeartCodec, monkeypatch: pytest.MonkeyPatch) -> HeartCodec:
    """The embedded codec with another decoder: a sound of codes and noise that is there at once."""

    def detokenize(
        self: HeartCodec, codes: Tensor, *args: Any, generator: torch.Generator | None = None, **kwargs: Any
    ) -> Tensor:
        samples = codes.shape[-1] * self.samples_per_code
        level = codes.double().mean(dim=0).repeat_interleave(self.samples_per_code) / self.config.codebook_size
        time = torch.arange(samples) / 48_000
        tone = (level * torch.sin(2 * torch.pi * 330 * time)).float()
        return 0.2 * tone + 0.01 * torch.randn(2, samples, generator=generator)

    monkeypatch.setattr(HeartCodec, "detokenize", detokenize)
    return codec


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Write a Python module into the working folder and get its name: `module("def f(song): …")`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names: list[str] = []

    def write(text: str) -> str:
        names.append(f"own_{tmp_path.name.replace('-', '_')}_{len(names)}")
        (folder / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)
