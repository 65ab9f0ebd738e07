from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError, HeartoptError
from heartopt.evaluation import Request, audio_of, make_plan, original_of, run_plan
from heartopt.metrics import measure


def test_the_sound_behind_a_row(
    quick: HeartCodec, module: Callable[[str], str], songs: Path, tmp_path: Path
) -> None:
    name = module(
        "import torch\n"
        "def tokens(song):\n"
        "    open('calls.txt', 'a').write('x')\n"
        "    return torch.full((8, -(-song.audio.shape[-1] // 3840)), 700)"
    )
    systems = [f"t=python:{name}.tokens", "mp3:64"]
    plan = make_plan(
        Request(codec=quick, files=[songs], systems=systems, metrics=["mel"], seeds=[4], cache=tmp_path / "cache")
    )
    found, _ = run_plan(plan)
    for row in found.rows:
        sound, original = audio_of(plan, row["file"], row["system"]), original_of(plan, row["file"])
        assert sound.shape == original.shape and sound.dtype == torch.float32
        assert measure(sound, original, ["mel"])["mel"] == row["mel"]
    assert Path("calls.txt").read_text() == "xx"  # one call a song: its tokens were kept


def test_what_is_not_there(quick: HeartCodec, songs: Path) -> None:
    plan = make_plan(Request(codec=quick, files=[songs], systems=[f"own=audio:{songs}"], metrics=["mel"]))
    with pytest.raises(ConfigError, match="has no song c"):
        original_of(plan, "c")
    with pytest.raises(ConfigError, match="no system magic"):
        audio_of(plan, "a.wav", "magic")
    (songs / "a.wav").unlink()
    with pytest.raises(HeartoptError, match=r"a\.wav"):
        audio_of(plan, "a.wav", "own")
