"""Folders that can be written or not, and what the cache needs."""

from __future__ import annotations

import os
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from heartopt.doctor import disk
from heartopt.doctor.disk import cache_check, output_check, try_writing
from heartopt.errors import OutputError

RELEASE = 25.0 * 256
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch):
    """A disk with so many bytes free: `room(1e9)`."""
    return lambda free: monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: Usage(int(1e12), 0, int(free)))


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mode
    assert try_writing(tmp_path) == tmp_path
    assert try_writing(tmp_path / "not/there/yet") == tmp_path
    assert list(tmp_path.iterdir()) == [] and tmp_path.stat().st_mode == before


@pytest.mark.parametrize("below", [".", "out", "a/b"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file is not a folder"):
        try_writing(tmp_path / "file" / below)


def test_a_link_to_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="link is not a folder"):
        try_writing(tmp_path / "link/out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="Permission denied"):
        try_writing(tmp_path / "out")


def test_a_full_disk_is_refused_and_names_the_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / ".heartopt-doctor-x"))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        try_writing(tmp_path)
    assert str(caught.value) == f"cannot write to {tmp_path}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_relative_folder_is_tried_where_it_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tried: list[Path] = []
    real = tempfile.NamedTemporaryFile
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **rest: (tried.append(rest["dir"]), real(**rest))[1])
    assert try_writing(Path("run")) == tmp_path
    assert tried == [tmp_path]


def test_the_output_folder(tmp_path: Path, room) -> None:
    room(2e9)
    check = output_check(tmp_path)
    assert (check.status, check.detail) == ("ok", f"{tmp_path}: writable, 2.0 GB free")
    assert output_check(tmp_path / "new").detail == f"{tmp_path / 'new'}: can be made, 2.0 GB free"
    room(0.5e9)
    check = output_check(tmp_path)
    assert check.status == "warning" and "another disk" in check.remedy


@pytest.mark.parametrize(
    # 100 hours: 360,000 s · 12,800 B = 4.608 GB of latents, · 192,000 B = 69.12 GB of audio
    ("free", "bound", "status", "advice"),
    [
        (100e9, 100e9, "ok", ""),
        (73.8e9, 100e9, "ok", ""),
        (73.7e9, 100e9, "warning", "--cache-dir"),
        (4.6e9, 100e9, "failed", "--cache-dir"),
        (100e9, 64e9, "ok", "--cache-size 74"),
        (100e9, 4e9, "warning", "--cache-size 5, with objectives that listen 74"),
    ],
)
def test_the_cache_needs_12_8_kb_a_second(tmp_path, room, free, bound, status, advice) -> None:
    room(free)
    check = cache_check(tmp_path, values_a_second=RELEASE, seconds=360_000.0, bound=bound)
    assert check.status == status
    assert "these 100.00 h take 4.6 GB" in check.detail and "69.1 GB more" in check.detail
    assert advice in check.remedy and bool(advice) == bool(check.remedy)


def test_without_songs_an_hour_is_told_and_nothing_judged(tmp_path: Path, room) -> None:
    room(1e6)
    check = cache_check(tmp_path, values_a_second=RELEASE, seconds=None, bound=64e9)
    assert check.status == "ok" and "an hour of audio take 46 MB" in check.detail
