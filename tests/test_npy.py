"""A `.npy` file is a whole array of numbers, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heartopt.npy import read_npy

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_an_array_comes_back_writable(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAY)
    array = read_npy(tmp_path / "x.npy")
    assert array.dtype == ARRAY.dtype and array.flags.writeable and (array == ARRAY).all()


@pytest.mark.parametrize("change", [0x01, 0x20, 0x5B, 0x80, 0xFF])
def test_a_header_with_any_changed_byte_is_an_array_or_a_value_error_of_one_line(tmp_path: Path, change: int) -> None:
    path, refused = tmp_path / "x.npy", 0
    np.save(path, ARRAY)
    whole = path.read_bytes()
    for at in range(128):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
        try:
            read_npy(path)
        except ValueError as error:
            refused += 1
            assert str(error) and "\n" not in str(error)
    assert refused > 60


def test_an_open_brace_is_refused(tmp_path: Path) -> None:
    """NumPy takes such a header for one of Python 2, and its tokenizer raises its own error."""
    np.save(tmp_path / "x.npy", ARRAY)
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data.replace(b"}", b"&"))
    with pytest.raises(ValueError, match=r"statement|closed"):
        read_npy(tmp_path / "x.npy")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        read_npy(tmp_path / "x.npy")
