from __future__ import annotations

from pathlib import Path

import pytest

from heartopt.errors import HeartoptError
from heartopt.report.figures import new_figure, rows_of, save_figure

pytest.importorskip("matplotlib")


def test_a_picture_says_what_it_was_drawn_from(tmp_path: Path) -> None:
    save_figure(new_figure(2, 1, "title"), tmp_path / "a.png", rows="0123abc")
    save_figure(new_figure(2, 1, "title"), tmp_path / "b.png")
    assert rows_of(tmp_path / "a.png") == "0123abc" and rows_of(tmp_path / "b.png") == ""


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXt"])
def test_what_is_no_picture_says_nothing(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(data)
    assert rows_of(tmp_path / "x.png") == ""


def test_a_picture_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HeartoptError, match=r"cannot read .*none\.png"):
        rows_of(tmp_path / "none.png")


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_figure(new_figure(2, 1, "title"), tmp_path / name, rows="x")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
