"""A picture of shimmer: the band's spectrogram, and what stands out of it, with what was attenuated."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from heartopt.report import figures
from heartopt.shimmer import Shimmer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = figures.DOTS_PER_INCH
#: What the colours span: dB below the loudest cell; dB above the running median.
LEVELS_DB, RESIDUAL_DB = 70.0, 20.0
#: Attenuation from which on a cell is marked.
MARKED_DB = 0.1


def need_matplotlib() -> None:
    """Raises HeartoptError where matplotlib is not installed."""
    figures.need_matplotlib("shimmer", find_spec)


def draw_shimmer(shimmer: Shimmer, path: Path, *, title: str, start: float = 0.0) -> None:
    """Draw `shimmer` into the PNG file `path`, atomically. `start`: the second of the song at which it begins.

    Raises:
        HeartoptError: matplotlib is not installed.
        OutputError: `path` cannot be written.
    """
    need_matplotlib()
    figures.save_figure(make_figure(shimmer, title=title, start=start), path)


def make_figure(shimmer: Shimmer, *, title: str, start: float = 0.0) -> Figure:
    """Two panels over one time axis: levels in the band; dB above the running median, attenuated cells marked."""
    figure = figures.new_figure(13.0, 7.0, title)
    top, bottom = figure.subplots(2, 1, sharex=True, sharey=True)
    times, hertz = shimmer.seconds + start, shimmer.hertz / 1000
    edges = (float(times[0]), float(times[-1]), float(hertz[0]), float(hertz[-1]))
    shown = {"origin": "lower", "aspect": "auto", "extent": edges, "interpolation": "nearest"}
    level, residual, attenuation = (
        values.T.cpu().numpy() for values in (shimmer.level_db, shimmer.residual_db, shimmer.attenuation_db)
    )

    loudest = float(level.max())
    image = top.imshow(level, vmin=loudest - LEVELS_DB, vmax=loudest, cmap="magma", **shown)
    figure.colorbar(image, ax=top, label="level (dB)")
    top.set_title("the band", loc="left", fontsize=10.5)

    image = bottom.imshow(residual, vmin=0, vmax=RESIDUAL_DB, cmap="Greys", **shown)
    figure.colorbar(image, ax=bottom, label="above the running median (dB)")
    marked = attenuation.copy()
    marked[marked < MARKED_DB] = float("nan")
    image = bottom.imshow(marked, vmin=0, vmax=max(1.0, float(attenuation.max())), cmap="autumn_r", **shown)
    figure.colorbar(image, ax=bottom, label="attenuated by (dB)")
    share = 100 * float((attenuation >= MARKED_DB).mean())
    bottom.set_title(
        f"what stands out: {100 * shimmer.share:.2f} % of cells pass the threshold, {share:.2f} % are attenuated "
        "(coloured)",
        loc="left",
        fontsize=10.5,
    )
    bottom.set_xlabel("seconds")
    for axis in (top, bottom):
        axis.set_ylabel("kHz")
    return figure
