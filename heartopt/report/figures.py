"""What every picture needs: matplotlib, a title that can be drawn whatever the song is called, a file that is whole."""

from __future__ import annotations

import struct
import textwrap
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from heartopt.errors import HeartoptError
from heartopt.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 120
_TITLE_COLUMNS = 110  # characters of a title's line
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ROWS = "Rows"  # the keyword of a PNG's text


def need_matplotlib(what: str, find: Callable[[str], object] | None = None) -> None:
    """Raises HeartoptError where matplotlib is not installed. `what` is to be drawn; `find` looks for packages."""
    if (find or find_spec)("matplotlib") is None:
        raise HeartoptError(f"drawing {what} needs matplotlib: pip install 'heartopt[report]'")


def new_figure(width: float, height: float, title: str) -> Figure:
    """A figure of `width` x `height` inches in constrained layout, with no part in pyplot's state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine("constrained")
    figure.suptitle(textwrap.fill(plain_text(title), _TITLE_COLUMNS), fontsize=12, parse_math=False)
    return figure


def plain_text(text: str) -> str:
    """`text` without what no font can draw: bytes of a file name that are no characters, which matplotlib refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")


def save_figure(figure: Figure, path: Path, *, rows: str = "") -> None:
    """Write `figure` into the PNG file `path`, atomically. Signs that the font lacks become boxes, silently.

    `rows`: what the picture was drawn from, such as a digest; `rows_of` reads it.

    Raises:
        OutputError: `path` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH, metadata={_ROWS: rows} if rows else None)


def rows_of(path: Path) -> str:
    """What `save_figure` was told that the PNG file `path` was drawn from; "" where it says nothing, or is no PNG.

    Raises:
        HeartoptError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HeartoptError(f"cannot read {path}: {error.strerror or error}") from error
    place = len(_SIGNATURE)
    while data.startswith(_SIGNATURE) and place + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])  # a chunk: size, kind, that many bytes, checksum
        key, _, value = data[place + 8 : place + 8 + size].partition(b"\0")
        if (kind, key) == (b"tEXt", _ROWS.encode()):
            return value.decode("latin-1")
        place += 12 + size
    return ""
