"""What is kept from run to run, and what damage, races and full disks do to it."""

from __future__ import annotations

import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heartopt.evaluation.cache import Store, default_folder, number

KEY = {"song": {"sha256": "ab", "start": 0.0}, "seed": None, "several": [1, 2]}
ARRAY = np.arange(24).reshape(8, 3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def files(store: Store, suffix: str) -> list[Path]:
    assert store.folder is not None
    return sorted(store.folder.rglob(f"*{suffix}"))


def test_what_is_kept_is_found_by_another(store: Store) -> None:
    assert store.find("outputs", KEY) is None
    store.keep("outputs", KEY, {"x": 0.1, "nothing": math.nan}, ARRAY)
    found = Store(store.folder).find("outputs", dict(reversed(KEY.items())))
    assert found is not None and found.record == {"x": 0.1, "nothing": None}
    assert found.array is not None and found.array.dtype == ARRAY.dtype and (found.array == ARRAY).all()
    assert store.find("measured", KEY) is None and store.find("outputs", {**KEY, "seed": 1}) is None
    store.keep("outputs", KEY, {"x": 2})
    again = store.find("outputs", KEY)
    assert again is not None and (again.record, again.array) == ({"x": 2}, None)


def test_no_folder_keeps_nothing(tmp_path: Path) -> None:
    store = Store(None)
    store.keep("outputs", KEY, {"x": 1}, ARRAY)
    assert store.find("outputs", KEY) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255), suffix=st.sampled_from([".json", ".npy"]))
def test_any_changed_byte_is_seen(store: Store, place: float, change: int, suffix: str) -> None:
    """An entry is what was written, or none; spaces at the end of the JSON are no change."""
    store.keep("outputs", KEY, {"x": 0.1, "note": "as it was"}, ARRAY)
    (file,) = files(store, suffix)
    data = bytearray(file.read_bytes())
    at = int(place * len(data))
    data[at] ^= change
    file.write_bytes(data)
    found = store.find("outputs", KEY)
    if found is not None:
        assert found.record == {"x": 0.1, "note": "as it was"} and (found.array == ARRAY).all()


@pytest.mark.parametrize("suffix", [".json", ".npy"])
@pytest.mark.parametrize("data", [None, b"", b"{}", b"[]", b"null", b"\xff\xfe", b"\x93NUMPY", b'{"body": {}}'])
def test_damage_is_no_entry_and_is_replaced(store: Store, suffix: str, data: bytes | None) -> None:
    store.keep("outputs", KEY, {"x": 1}, ARRAY)
    (file,) = files(store, suffix)
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    assert store.find("outputs", KEY) is None
    store.keep("outputs", KEY, {"x": 1}, ARRAY)
    assert store.find("outputs", KEY) is not None


def test_pickled_arrays_are_not_read(store: Store) -> None:
    store.keep("outputs", KEY, {}, ARRAY)
    (file,) = files(store, ".npy")
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    assert store.find("outputs", KEY) is None


def test_another_key_s_file_is_no_entry(store: Store) -> None:
    store.keep("outputs", KEY, {"x": 1})
    (file,) = files(store, ".json")
    body = json.loads(file.read_text())
    store.keep("outputs", {**KEY, "seed": 1}, {"x": 2})
    (other,) = [path for path in files(store, ".json") if path != file]
    other.write_text(json.dumps(body))
    assert store.find("outputs", {**KEY, "seed": 1}) is None


def test_many_writers_of_one_entry_leave_a_whole_one(store: Store) -> None:
    arrays = [np.full((8, 500), value) for value in range(8)]

    def write(value: int) -> None:
        for _ in range(5):
            Store(store.folder).keep("outputs", KEY, {"value": value}, arrays[value])
            found = store.find("outputs", KEY)
            assert found is None or (found.array == found.record["value"]).all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert not [path for path in files(store, "") if path.name.startswith(".")]


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "heartopt"):
        store.keep("outputs", KEY, {})
        store.keep("outputs", KEY, {})
    assert len(caplog.records) == 1 and "nothing more is kept for later runs" in caplog.text
    assert store.find("outputs", KEY) is None


def test_the_default_folder_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HEARTOPT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "heartopt" / "evaluation"


def test_numbers() -> None:
    assert number(3) == 3.0 and math.isnan(number(None))
