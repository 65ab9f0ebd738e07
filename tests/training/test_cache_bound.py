from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch

from heartopt.errors import ConfigError, OutputError
from heartopt.files import atomic_path
from heartopt.training.cache import LatentCache
from heartopt.training.cache_bound import Bound

HOUR = 3600


def entry(root: Path, name: str, *, size: int = 100, age: float = 0.0) -> Path:
    """A file of `size` bytes that was last used `age` seconds ago; it appears whole, as entries do."""
    path = root / "codec" / name
    with atomic_path(path) as aside:
        aside.write_bytes(bytes(size))
        os.utime(aside, (time.time() - age,) * 2)
    return path


def test_the_longest_unused_make_room(tmp_path: Path) -> None:
    files = {age: entry(tmp_path, f"{age}", age=age) for age in (30, 10, 40, 20)}
    Bound(tmp_path, 450).make_room(200)
    assert {age for age, path in files.items() if path.exists()} == {10, 20}


def test_nothing_is_deleted_while_there_is_room(tmp_path: Path) -> None:
    files = [entry(tmp_path, f"{age}", age=age) for age in (30, 10)]
    bound = Bound(tmp_path, 400)
    bound.make_room(100)
    assert all(path.exists() for path in files)


def test_other_codecs_entries_count_and_go_too(tmp_path: Path) -> None:
    other = LatentCache(tmp_path, "0" * 64).store("old", "kind", torch.zeros(100, 8)).path
    os.utime(other, (1, 1))
    cache = LatentCache(tmp_path, "f" * 64, max_bytes=3500)
    kept = [cache.store(name, "kind", torch.zeros(50, 8)).path for name in "ab"]
    assert not other.exists()
    assert all(path.exists() for path in kept)


def test_what_this_run_uses_stays_and_a_full_cache_says_what_to_do(tmp_path: Path) -> None:
    first = LatentCache(tmp_path, "f", max_bytes=100_000)
    found = first.store("found", "kind", torch.zeros(50, 8)).path
    unused = first.store("unused", "kind", torch.zeros(50, 8)).path
    for age, path in ((90, found), (10, unused)):
        os.utime(path, (time.time() - age,) * 2)
    cache = LatentCache(tmp_path, "f", max_bytes=2800)
    assert cache.find("found", "kind") is not None
    stored = cache.store("stored", "kind", torch.zeros(50, 8)).path
    assert found.exists() and stored.exists() and not unused.exists()
    with pytest.raises(OutputError, match=r"cache is full: .*--cache-size \(in GB\), at least 0\.01$"):
        cache.store("more", "kind", torch.zeros(100, 8))
    assert found.exists() and stored.exists()
    assert cache.find("stored", "kind") is not None


def test_finding_makes_an_entry_young(tmp_path: Path) -> None:
    first = LatentCache(tmp_path, "f")
    paths = {name: first.store(name, "kind", torch.zeros(50, 8)).path for name in "ab"}
    for age, path in ((90, paths["a"]), (60, paths["b"])):
        os.utime(path, (time.time() - age,) * 2)
    assert LatentCache(tmp_path, "f").find("a", "kind") is not None
    LatentCache(tmp_path, "f", max_bytes=3000).store("c", "kind", torch.zeros(50, 8))
    assert paths["a"].exists() and not paths["b"].exists()


def test_reading_makes_an_old_entry_young(tmp_path: Path) -> None:
    found = LatentCache(tmp_path, "f").store("a", "kind", torch.zeros(4, 8))
    os.utime(found.path, (time.time() - 2 * HOUR,) * 2)
    found.read(0, 2)
    assert time.time() - found.path.stat().st_mtime < HOUR


def test_what_killed_processes_left_is_swept_up(tmp_path: Path) -> None:
    abandoned = entry(tmp_path, ".1f.left.safetensors", age=2 * HOUR)
    being_written = entry(tmp_path, ".2f.now.safetensors", age=HOUR / 2)
    Bound(tmp_path, None).make_room(100)
    assert not abandoned.exists()
    assert being_written.exists()


def test_what_is_being_written_is_not_deleted_however_full_it_is(tmp_path: Path) -> None:
    being_written = entry(tmp_path, ".1f.now.safetensors", age=HOUR / 2)
    finished = entry(tmp_path, "finished", age=0)
    Bound(tmp_path, 250).make_room(100)
    assert being_written.exists() and not finished.exists()


def test_the_bound_holds_over_many_stores(tmp_path: Path) -> None:
    size = 0
    for number in range(60):  # each a run of its own, that uses nothing else
        bound = Bound(tmp_path, 1000)
        bound.make_room(90)
        entry(tmp_path, f"{number}", size=90, age=60 - number)
        size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert size <= 1000
    assert size > 900


def test_the_bound_holds_while_others_store_too(tmp_path: Path) -> None:
    """Two caches at a time that do not tell each other: at most a twentieth each is passed by."""
    bounds = [Bound(tmp_path, 2000) for _ in range(2)]
    for number in range(60):
        for which, bound in enumerate(bounds):
            bound.make_room(100)
            entry(tmp_path, f"{which}-{number}", age=1000 - number)
            assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 2000 + 2 * 100


def test_entries_that_vanish_meanwhile_do_no_harm(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(which: int) -> None:
        try:
            bound = Bound(tmp_path, 2000)
            for number in range(60):
                bound.make_room(100)
                entry(tmp_path, f"{which}-{number}", age=100 - number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("size", [0, -1])
def test_a_cache_without_size_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match="--cache-size"):
        Bound(tmp_path, size)
