"""`heartopt evaluate`: how good tokens are, in a table."""

from __future__ import annotations


def evaluate() -> None:
    """Judge tokens."""
