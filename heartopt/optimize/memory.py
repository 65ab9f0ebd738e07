"""What to do where memory runs out: the same work in smaller parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from heartopt.errors import is_out_of_memory

SMALLER = "out of memory: going on with a smaller batch"
_log = logging.getLogger(__name__)


def in_parts(run: Callable[[Tensor], Tensor], items: Tensor) -> Tensor:
    """``run(items)`` ``[n, …] -> [n, …]``, all at once or, where memory runs out, in halves, quarters and so on.

    Raises:
        MemoryError, RuntimeError: what ``run`` raises; memory that runs out for a single item too.
    """
    size = len(items)
    while True:
        try:
            return torch.cat([run(part) for part in items.split(max(size, 1))])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or size <= 1:
                raise
        size = -(-size // 2)
        _say_once()
        if items.device.type == "cuda":
            torch.cuda.empty_cache()


@lru_cache(maxsize=1)
def _say_once() -> None:
    """Thousands of batches may meet the same limit."""
    _log.warning(SMALLER)
