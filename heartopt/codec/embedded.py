"""The embedded codec: package data, loaded without the network."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "mini"
# It was trained on at most 10.24 s; the release's 29.76 s would extrapolate.
EMBEDDED_DURATION = 7.44


def embedded_folder() -> Path:
    """The folder with the embedded codec's config, weights, card and default projection."""
    return Path(__file__).parent / "data" / EMBEDDED
