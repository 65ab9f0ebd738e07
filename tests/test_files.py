"""Atomic files: whole or not at all, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from heartopt.errors import HeartoptError, OutputError
from heartopt.files import atomic_path, remove_leftovers, sha256_of, write_json, write_text


def test_the_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder" / "song.tokens.npy"
    with atomic_path(final) as temporary:
        temporary.write_bytes(b"half")
        assert not final.exists()
        assert temporary.parent == final.parent
        assert temporary.suffixes[-2:] == [".tokens", ".npy"]
    assert final.read_bytes() == b"half"
    assert [path.name for path in final.parent.iterdir()] == ["song.tokens.npy"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    final = tmp_path / "a.json"
    final.write_text("old")
    with pytest.raises(type(error)), atomic_path(final) as temporary:
        temporary.write_text("new")
        raise error
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_get_the_usual_permissions(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a.safetensors") as temporary:
            save_file({"a": torch.zeros(3)}, temporary)
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [mode, mode]


def test_a_block_that_wrote_nothing_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"), atomic_path(tmp_path / "a.wav"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*Not a directory|cannot write .*File exists"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_folder_under_the_final_name_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="Is a directory"):
        write_text(tmp_path / "a.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    final = tmp_path / ("n" * 251 + ".txt")
    write_text(final, "x")
    assert final.read_text() == "x"


def test_json_has_null_for_what_json_cannot_say(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = {
        "nan": math.nan,
        "inf": [math.inf, (-math.inf, 1.5)],
        "path": Path("a/b"),
        "numpy": np.float32(0.5),
        "numpy_nan": np.float64("nan"),
        "torch": torch.tensor(3),
        1: None,
        "text": "Ärger",
        "yes": True,
    }
    write_json(path, record)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "nan": None,
        "inf": [None, [None, 1.5]],
        "path": "a/b",
        "numpy": 0.5,
        "numpy_nan": None,
        "torch": 3,
        "1": None,
        "text": "Ärger",
        "yes": True,
    }
    assert path.read_text(encoding="utf-8").startswith('{\n  "nan": null,\n')
    assert path.read_text(encoding="utf-8").endswith("}\n")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=40)
@given(obj=_JSON)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, obj: object) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    write_json(path, obj)
    assert json.loads(path.read_text(encoding="utf-8")) == obj


def test_sha256_equals_hashlib_across_chunks(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000  # more than one chunk of 1 MiB
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


def test_sha256_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeartoptError, match="cannot read"):
        sha256_of(tmp_path / "none")


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / ".0123456789ab.song [1].wav"
    others = [tmp_path / "song [1].wav", tmp_path / ".0123456789ab.b.wav"]
    for path in (mine, *others):
        path.touch()
    remove_leftovers(tmp_path / "song [1].wav")
    assert sorted(tmp_path.iterdir()) == sorted(others)
