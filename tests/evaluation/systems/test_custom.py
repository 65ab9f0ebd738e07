"""Anybody's function as a system."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import HeartoptError
from heartopt.evaluation.suites import Song
from heartopt.evaluation.systems import Decoding, Output, Place, Setup, Subject, SystemSpec
from heartopt.optimize import OptimizeSettings

Module = Callable[[str], str]


@pytest.fixture
def setup(codec: HeartCodec) -> Setup:
    return Setup(codec, None, Decoding(7.44), OptimizeSettings(), seed=7)


SONG = Song("own name", Path("x.wav"))


def run(name: str, setup: Setup, *, samples: int = 10_000, index: int = 0, **settings: object) -> Output:
    system = SystemSpec("mine", f"python:{name}.f", settings).make()
    return system(setup, Subject(index, torch.ones(2, samples), lambda: torch.zeros(2, 1), SONG))


def test_it_gets_the_song_and_gives_audio_or_tokens(module: Module, setup: Setup) -> None:
    name = module(
        "import torch\n"
        "def f(song, gain):\n"
        "    assert song.sample_rate == 48000 and song.name == 'own name' and song.codec.config.num_quantizers == 8\n"
        "    song.audio.mul_(gain)\n"  # its own copy
        "    return song.audio"
    )
    found = run(name, setup, gain=0.25)
    assert found.audio is not None and torch.equal(found.audio, torch.full((2, 10_000), 0.25))
    assert found.timed and found.note == ""
    name = module("import numpy\ndef f(song): return numpy.full((8, 3), 5, dtype='int32')")
    tokens = run(name, setup).tokens
    assert tokens is not None and tokens.dtype == torch.int64 and torch.equal(tokens, torch.full((8, 3), 5))


def test_what_fits_nearly_is_said(module: Module, setup: Setup) -> None:
    name = module("def f(song): return song.audio[0, :-48]")
    assert run(name, setup).note == "mono, taken for both channels; 1.0 ms shorter, silence at its end"
    name = module("import torch\ndef f(song): return torch.zeros(8, 4, dtype=torch.int64)")
    found = run(name, setup)
    assert found.tokens is not None and found.tokens.shape == (8, 3) and found.note == "one frame longer, cut"


def test_the_seed_is_another_for_each_song(module: Module, setup: Setup) -> None:
    name = module("import torch\ndef f(song): return torch.full((2, 10000), float(song.seed % 1000))")
    first, again, other = (run(name, setup, index=index).audio for index in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('two\\nlines')", "failed: ValueError: two lines$"),
        ("raise SystemExit(3)", "failed: SystemExit: 3"),
        ("raise MemoryError", "failed: MemoryError$"),
        ("return 1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("return None", "gave NoneType, not tokens"),
        ("return song.audio * float('nan')", "NaN or infinite"),
        ("return song.audio[:, :3000]", "lasts 0.062 s, and the song 0.208 s"),
        ("return song.audio.expand(3, 2, 10000)", "audio must be floating point"),
        ("import torch; return torch.zeros(6, 10000)", "has 6 channels"),
        ("import torch; return torch.zeros(3, 5, dtype=torch.int64)", r"gave int64 \[3, 5\], not tokens \[8, frames\]"),
        ("import torch; return torch.zeros(8, 3, dtype=torch.bool)", r"gave bool \[8, 3\]"),
        ("import torch; return torch.full((8, 3), 4096)", "gave codes from 4096 to 4096; this codec has 0 to 1023"),
        ("import torch; return torch.full((8, 9), 1)", r"9 frames last 0\.72 s"),
    ],
)
def test_all_that_goes_wrong_is_one_line(body: str, message: str, module: Module, setup: Setup) -> None:
    name = module(f"def f(song): {body}")
    with pytest.raises(HeartoptError, match=message) as caught:
        run(name, setup)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_cannot_be_imported(module: Module) -> None:
    name = module("raise RuntimeError('no\\nlicence')")
    with pytest.raises(HeartoptError, match=r"cannot be imported: RuntimeError: no licence$"):
        SystemSpec.parse(f"python:{name}.f").make()


def test_the_working_folder_is_importable_only_then(module: Module) -> None:
    path = list(sys.path)
    SystemSpec.parse(f"python:{module('def f(song): return song.audio')}.f").make()
    assert sys.path == path


def test_a_cache_goes_by_the_source_the_settings_and_the_song_s_place(module: Module, setup: Setup) -> None:
    name = module("def f(song, **settings): return song.audio")
    file = Path(f"{name}.py")

    def identity(index: int = 0, **settings: object) -> object:
        system = SystemSpec("mine", f"python:{name}.f", settings).make()
        return system.identity(setup, Place(index, SONG, SONG))

    first = identity(a=1)
    assert first == identity(a=1) and first != identity(a=2) and first != identity(1, a=1)
    file.write_text(file.read_text() + "\n# changed")
    assert identity(a=1) != first
