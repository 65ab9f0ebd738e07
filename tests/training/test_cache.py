from __future__ import annotations

from pathlib import Path

import pytest
import torch

from heartopt.errors import OutputError
from heartopt.training.cache import LatentCache, default_cache


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    return LatentCache(tmp_path / "cache", "f" * 64)


def test_what_is_stored_is_found_to_half_precision(cache: LatentCache) -> None:
    latents = torch.rand(10, 4) * 2 - 1
    cache.store("song", "kind", latents)
    found = cache.find("song", "kind")
    assert found is not None
    assert (found.frames, found.channels) == (10, 4)
    torch.testing.assert_close(found.read(), latents, rtol=0, atol=5e-4)
    torch.testing.assert_close(found.read(4, 6), latents[4:6], rtol=0, atol=5e-4)
    assert found.read().dtype == torch.float32


def test_another_song_kind_or_codec_is_another_entry(cache: LatentCache, tmp_path: Path) -> None:
    cache.store("song", "kind", torch.zeros(2, 2))
    assert cache.find("other", "kind") is None
    assert cache.find("song", "other") is None
    assert LatentCache(tmp_path / "cache", "0" * 64).find("song", "kind") is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "text"])
def test_a_damaged_entry_is_not_found(cache: LatentCache, damage: str) -> None:
    path = cache.store("song", "kind", torch.rand(50, 8)).path
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-20],
            "flipped": content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
            "emptied": b"",
            "text": b"no latents",
        }[damage]
    )
    assert cache.find("song", "kind") is None


def test_an_entry_that_vanished_is_one_clear_error(cache: LatentCache) -> None:
    entry = cache.store("song", "kind", torch.rand(4, 2))
    entry.path.unlink()
    with pytest.raises(OutputError, match=r"--resume auto"):
        entry.read()


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("HEARTOPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "heartopt"
