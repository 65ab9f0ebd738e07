"""The processes that train together, and what they tell each other.

Only the projection is trained, a few MB: its gradients are averaged after each backward pass, and the frozen codec
needs nothing of the kind. `accelerate launch` and `torchrun` set the environment that `join_world` reads.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from heartopt.errors import HeartoptError

#: Songs are encoded, and clips judged, while other processes wait.
PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class World:
    """Process `rank` of `size`; alone by default. `device`: where collective tensors must lie."""

    rank: int = 0
    size: int = 1
    device: str | torch.device = "cpu"

    @property
    def main(self) -> bool:
        """Whether this process writes files and judges."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        self.sum(torch.zeros(()))  # NCCL's own barrier would have to guess the device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, on its own device."""
        if self.size == 1:
            return tensor
        shared = tensor.to(self.device, copy=True)
        with _talking():
            distributed.all_reduce(shared)
            return shared.to(tensor.device)

    def any(self, value: bool) -> bool:
        """Whether `value` is True in any process."""
        return bool(self.sum(torch.tensor(float(value))) > 0) if self.size > 1 else value

    def agreed(self, word: str, words: tuple[str, ...]) -> str:
        """What the main process says: `word`, one of `words`."""
        if self.size == 1:
            return word
        index = torch.tensor([words.index(word)], device=self.device)
        with _talking():
            distributed.broadcast(index, src=0)
            return words[int(index)]

    def same(self, text: str) -> bool:
        """Whether all processes say the same `text`."""
        if self.size == 1:
            return True
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        bounds = torch.tensor([number, -number], device=self.device)
        with _talking():
            distributed.all_reduce(bounds, distributed.ReduceOp.MAX)
            return bounds.tolist() == [number, -number]

    def copy_from_main(self, module: nn.Module) -> None:
        """Give `module` the main process' weights: other hardware may come to slightly other ones."""
        if self.size == 1:
            return
        for tensor in module.state_dict().values():
            shared = tensor.detach().to(self.device, copy=True)
            with _talking():
                distributed.broadcast(shared, src=0)
                tensor.copy_(shared)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over all processes, in one message.

        A parameter without one counts as having zeros: another process, whose audio was not silent, may have one.
        """
        if self.size == 1:
            return
        gradients = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        mean = self.sum(flat) / self.size
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = World()


@contextmanager
def _talking() -> Iterator[None]:
    """One error where another process has failed or was stopped, which then says why itself."""
    try:
        yield
    except RuntimeError as error:
        raise HeartoptError("lost another process of this run; it says why, or was stopped") from error


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """The processes that a launcher started together with this one, while the block runs; alone without a launcher.

    Raises:
        HeartoptError: they cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    mine = not distributed.is_initialized()
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        if mine:
            distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise HeartoptError(f"cannot reach the other {size - 1} processes: {' '.join(str(error).split())}") from error
    try:
        yield World(distributed.get_rank(), size, device if device.type == "cuda" else "cpu")
    finally:
        if mine:
            distributed.destroy_process_group()
