"""The embedded codec: package data, loaded without the network."""

from __future__ import annotations

from pathlib import Path

EMBEDDED = "mini"


def embedded_folder() -> Path:
    """The folder with the embedded codec's config, weights, card and default projection."""
    return Path(__file__).parent / "data" / EMBEDDED
