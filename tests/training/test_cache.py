from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from heartopt.errors import AudioError, OutputError
from heartopt.training import audio_entry
from heartopt.training.cache import AudioEntry, LatentCache, default_cache, temporary_cache


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    return LatentCache(tmp_path / "cache", "f" * 64)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more than `size` bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def store_audio(cache: LatentCache, audio: Tensor, samples: int, pieces: int = 1) -> AudioEntry:
    with cache.store_audio("song", "audio", channels=audio.shape[0], samples=samples) as writer:
        for piece in audio.chunk(pieces, dim=1):
            writer.write(piece)
    found = cache.find_audio("song", "audio", samples)
    assert found is not None
    return found


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


def test_an_entry_is_not_taken_for_another_type(cache: LatentCache) -> None:
    cache.store("song", "kind", torch.zeros(2, 2))
    assert cache.find_audio("song", "kind", 2) is None
    assert cache.find_tokens("song", "kind") is None


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
    entries = [
        cache.store("song", "kind", torch.rand(4, 2)),
        cache.store_tokens("song", "tokens", torch.ones(2, 4, dtype=torch.int64)),
        store_audio(cache, torch.rand(2, 10), 10),
    ]
    for entry in entries:
        entry.path.write_bytes(entry.path.read_bytes()[:-1])
        with pytest.raises(OutputError, match=r"--resume auto"):
            entry.read()
        entry.path.unlink()
        with pytest.raises(OutputError, match=r"--resume auto"):
            entry.read()


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEARTOPT_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("HEARTOPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "heartopt"


def test_a_temporary_cache_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_cache("f" * 64) as cache:
        entry = cache.store("song", "kind", torch.zeros(2, 2))
        assert entry.path.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tokens_come_back(cache: LatentCache) -> None:
    tokens = torch.randint(0, 2**31 - 1, (3, 20))
    cache.store_tokens("song", "tokens-x", tokens)
    found = cache.find_tokens("song", "tokens-x")
    assert found is not None
    assert (found.codebooks, found.frames) == (3, 20)
    assert torch.equal(found.read(), tokens)
    assert torch.equal(found.read(5, 9), tokens[:, 5:9])
    assert found.read().dtype == torch.int64


@settings(deadline=None, max_examples=25)
@given(data=st.data(), channels=st.integers(1, 2), length=st.integers(1, 400), more=st.integers(0, 100))
def test_audio_is_read_back_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, channels: int, length: int, more: int
) -> None:
    cache = LatentCache(tmp_path_factory.mktemp("cache"), "f")
    audio = torch.rand(channels, length, generator=torch.Generator().manual_seed(length)) * 2.2 - 1.1
    entry = store_audio(cache, audio, length + more, pieces=data.draw(st.integers(1, 7)))
    start = data.draw(st.integers(0, length + more))
    stop = data.draw(st.integers(start, length + more))
    whole = torch.nn.functional.pad(audio.clamp(-1, 1), (0, more)).expand(2, -1)
    torch.testing.assert_close(entry.read(start, stop), whole[:, start:stop], rtol=0, atol=1 / 32768)
    assert entry.read().shape == (2, length + more)


def test_sixteen_bit_samples_come_back_exactly(cache: LatentCache) -> None:
    audio = torch.arange(-32768, 32768)[None] / 32768
    assert torch.equal(store_audio(cache, audio, 65536, pieces=5).read(), audio.expand(2, -1))


def test_audio_of_another_length_is_not_found(cache: LatentCache) -> None:
    entry = store_audio(cache, torch.rand(2, 100), 100)
    assert cache.find_audio("song", "audio", 101) is None
    content = entry.path.read_bytes()
    for damaged in (content[:-2], b"", b"text", content[:40]):
        entry.path.write_bytes(damaged)
        assert cache.find_audio("song", "audio", 100) is None


def test_audio_beyond_what_was_promised_is_refused_and_leaves_nothing(cache: LatentCache) -> None:
    with (
        pytest.raises(AudioError, match=r"\[2, 9\] after 100 of \[2, 108\]"),
        cache.store_audio("song", "audio", channels=2, samples=108) as writer,
    ):
        writer.write(torch.zeros(2, 100))
        writer.write(torch.zeros(2, 9))
    assert not any(path.is_file() for path in cache.folder.rglob("*"))


def test_a_disk_that_forgets_is_found_out(cache: LatentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(range(99))
    monkeypatch.setattr(audio_entry.zlib, "crc32", lambda *_: next(answers))
    with pytest.raises(OutputError, match="gives back other bytes"):
        store_audio(cache, torch.rand(2, 100), 100)
    assert not any(path.is_file() for path in cache.folder.rglob("*"))


def test_a_full_disk_is_one_clear_error_and_leaves_what_was_there(cache: LatentCache) -> None:
    before = cache.store("song", "kind", torch.ones(4, 4))
    with largest_file(4096):
        with pytest.raises(OutputError, match="cannot write"):
            cache.store("song", "kind", torch.zeros(4096, 16))
        with pytest.raises(OutputError, match="cannot write"):
            cache.store_tokens("song", "tokens", torch.zeros(8, 4096, dtype=torch.int64))
        with pytest.raises(OutputError, match="cannot write"):
            store_audio(cache, torch.zeros(2, 48_000), 48_000)
    assert [path.name for path in cache.folder.iterdir()] == [before.path.name]
    assert torch.equal(before.read(), torch.ones(4, 4))


def test_many_that_store_one_entry_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    latents, audio = torch.rand(300, 8), torch.rand(2, 20_000)

    def store(_: int) -> None:
        cache = LatentCache(tmp_path, "f")
        for _ in range(3):
            cache.store("song", "kind", latents)
            assert cache.find("song", "kind") is not None
            store_audio(cache, audio, 20_000, pieces=3)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(store, range(6)))
    cache = LatentCache(tmp_path, "f")
    found, heard = cache.find("song", "kind"), cache.find_audio("song", "audio", 20_000)
    assert found is not None and heard is not None
    torch.testing.assert_close(found.read(), latents, rtol=0, atol=5e-4)
    torch.testing.assert_close(heard.read(), audio, rtol=0, atol=1 / 32768)
    assert len(list(cache.folder.iterdir())) == 2


STORE_UNTIL_KILLED = """
    import os, signal, sys, time, torch
    from pathlib import Path
    from heartopt.training.cache import LatentCache

    def store():
        cache = LatentCache(Path(sys.argv[1]), "f", max_bytes=10**7)
        while True:
            cache.store("song", "kind", torch.full((2000, 64), 0.5))
            with cache.store_audio("song", "audio", channels=2, samples=200_000) as writer:
                for _ in range(10):
                    writer.write(torch.full((2, 20_000), 0.25))

    for trial in range(8):
        child = os.fork()
        if child == 0:
            store()
        time.sleep(0.01 + 0.037 * trial)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cache = LatentCache(Path(sys.argv[1]), "f")
        latents, audio = cache.find("song", "kind"), cache.find_audio("song", "audio", 200_000)
        assert latents is not None or not cache.path("song", "kind").exists(), trial
        assert audio is not None or not cache.path("song", "audio").exists(), trial
        assert latents is None or bool((latents.read() == 0.5).all()), trial
        assert audio is None or bool((audio.read() == 0.25).all()), trial
    assert latents is not None and audio is not None
"""


def test_a_killed_process_leaves_whole_entries_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(STORE_UNTIL_KILLED), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_audio_entries_are_plain_safetensors_with_checksums(cache: LatentCache) -> None:
    entry = store_audio(cache, torch.rand(2, 1000), 1000)
    content = entry.path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    rows = [content[-4000:-2000], content[-2000:]]
    assert header["audio"] == {"dtype": "I16", "shape": [2, 1000], "data_offsets": [0, 4000]}
    assert header["__metadata__"]["crc32"].split() == [f"{audio_entry.zlib.crc32(row):08x}" for row in rows]
