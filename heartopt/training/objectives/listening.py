"""The spectral losses of `bypass` and `ode`: audio against audio, file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heartopt.errors import ConfigError
from heartopt.losses import LOSSES, is_silent
from heartopt.training.crops import Batch
from heartopt.training.settings import TrainSettings

#: Our terms' last words, and the losses of the training report that they are.
FORMS = {"stft": "stft_log1p", "mel": "mel_log1p", "phase": "stft_phase", "hf": "stft_hf"}
#: The training report's weight of the phase term.
PHASE_WEIGHT = 0.1


def listening_weights(settings: TrainSettings) -> dict[str, float]:
    """The weights of `FORMS` by name, within one objective; a form of weight 0 is left out and costs nothing."""
    weights = {
        "stft": 1.0,
        "mel": settings.mel_weight,
        "phase": PHASE_WEIGHT if settings.include_phase else 0.0,
        "hf": settings.highfreq_weight,
    }
    return {name: weight for name, weight in weights.items() if weight}


def listening_terms(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    batch: Batch,
    weights: Mapping[str, float],
    *,
    hop: int,
    recompute: bool,
) -> dict[str, Tensor]:
    """The forms named in `weights`, each the mean over items: `{name: []}`.

    Item by item: a spectral convergence is a ratio over the file it is given, and the waveform decoder needs far more
    memory than all else. It stays in float32 like its weights. What only fills a crop is cut off; silence counts as 0.

    Args:
        decode: one item's latents `[1, L, C]` -> its audio `[c, L · hop]`; a mono estimate is compared with the mean
            of the song's channels.
        recompute: free what `decode` needs for its gradient, and compute it again on the way back.
    """
    if batch.audio is None:
        raise ConfigError("the objectives bypass and ode compare audio, and these songs were prepared without it")

    def heard(own: Tensor, audio: Tensor, samples: int) -> Tensor:
        with torch.autocast(own.device.type, enabled=False):
            estimate = decode(own[None].float())
            target = audio if len(estimate) == len(audio) else audio.mean(0, keepdim=True)
            return torch.stack([LOSSES[FORMS[name]](estimate[:, :samples], target[:, :samples]) for name in weights])

    items = []
    for own, audio, frames in zip(latents, batch.audio, batch.real.sum(1).tolist(), strict=True):
        samples = frames * hop
        if is_silent(audio[:, :samples]):  # a ratio to nothing would drown all other items
            items.append(latents.new_zeros(len(weights), dtype=torch.float32))
        elif recompute:
            items.append(checkpoint(heard, own, audio, samples, use_reentrant=False))
        else:
            items.append(heard(own, audio, samples))
    return dict(zip(weights, torch.stack(items).mean(0).unbind(), strict=True))
