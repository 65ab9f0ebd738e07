"""Which parts of the frozen codec lie on the device: what an objective does not use stays in the machine's memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from heartopt.codec import HeartCodec


@dataclass(frozen=True)
class Parts:
    """Parts of the codec beside its quantizer, which every objective needs: the flow transformer, the ScalarModel."""

    estimator: bool = False
    waveform: bool = False


EVERYTHING = Parts(estimator=True, waveform=True)
_OF_OBJECTIVE = {
    "flow": Parts(estimator=True),
    "bypass": Parts(waveform=True),
    "ode": EVERYTHING,
    "distill": Parts(),
}


def parts_of(objective: Mapping[str, float]) -> Parts:
    """What the objectives of a mixture need."""
    parts = [_OF_OBJECTIVE[name] for name in objective]
    return Parts(any(part.estimator for part in parts), any(part.waveform for part in parts))


def place(codec: HeartCodec, parts: Parts, device: torch.device) -> None:
    """Put the quantizer and `parts` on `device`, and the other parts into the machine's memory."""
    away = torch.device("cpu")
    flow = codec.flow_matching
    flow.estimator.to(away if not parts.estimator else device)
    codec.scalar_model.to(away if not parts.waveform else device)
    flow.vq_embed.to(device)
    flow.cond_feature_emb.to(device)


@contextmanager
def put_back(codec: HeartCodec) -> Iterator[None]:
    """After the block every part of the codec is where it was before."""
    flow = codec.flow_matching
    modules = (flow.estimator, codec.scalar_model, flow.vq_embed, flow.cond_feature_emb)
    before = [next(module.parameters()).device for module in modules]
    try:
        yield
    finally:
        for module, device in zip(modules, before, strict=True):
            module.to(device)


@contextmanager
def placed(codec: HeartCodec, parts: Parts, device: torch.device, *, after: Parts) -> Iterator[None]:
    """`parts` on `device` while the block runs, then those of `after`."""
    place(codec, parts, device)
    try:
        yield
    finally:
        place(codec, after, device)
