"""Arrays of numbers in `.npy` files, of whatever origin."""

from __future__ import annotations

import os
import tokenize
from typing import Any

import numpy as np
import numpy.typing as npt

# What NumPy raises for a header that is not one; it reads old ones with Python's own tokenizer.
_DAMAGE = (ValueError, OverflowError, SyntaxError, TypeError, EOFError, RecursionError, tokenize.TokenError)


def read_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array, copied into memory; sizes that the file does not have allocate nothing, and nothing is unpickled.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is not a whole array of numbers.
    """
    try:
        return np.array(np.lib.format.open_memmap(path, mode="r"), order="C")
    except (*_DAMAGE, MemoryError) as error:
        raise ValueError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
