"""The shape of the repository: small files, and nothing of one person's machine in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 330
# Folders that exist on one machine only: homes, scratch folders, mounted work folders.
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work|mnt|scratch|tmp)/[\w.-]+")


def _tracked() -> list[Path]:
    """The files that git tracks, or, in an unpacked archive, all files of the source folders."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        folders = ("heartopt", "tests", "benchmarks", "scripts")
        return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("path", sorted((ROOT / "heartopt").rglob("*.py")), ids=lambda path: path.name)
def test_source_files_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_pattern_finds_machine_paths() -> None:
    for text in ("see /home/ann/song.wav", "'/tmp/x1'", "(/Users/ann)", "file:///root/data"):
        assert MACHINE_PATHS.search(text), text
    for text in ("~/.cache/heartopt", "path/to/home/ann", "https://x.org/work/1", "/usr/bin/env", "a/tmp/b"):
        assert not MACHINE_PATHS.search(text), text


def test_no_text_names_a_machine_s_own_paths() -> None:
    found = []
    for path in _tracked():
        if path == Path(__file__).resolve():
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # not text
        hits = (MACHINE_PATHS.search(line) for line in lines)
        found += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for number, hit in enumerate(hits, 1) if hit]
    assert found == []


def test_the_package_carries_its_data() -> None:
    mini = ROOT / "heartopt/codec/data/mini"
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (mini / name).is_file()
    size = sum(
        path.stat().st_size for path in (ROOT / "heartopt").rglob("*") if "__pycache__" not in path.parts
    )
    assert size < 40e6
    assert (ROOT / "heartopt/py.typed").is_file()
