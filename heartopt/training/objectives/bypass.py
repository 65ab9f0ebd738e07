"""`bypass`, the training report's fast way: past the flow transformer, through a small decoder that is trained too."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from heartopt.codec import HeartCodec
from heartopt.training.crops import Batch
from heartopt.training.model import BypassDecoder
from heartopt.training.objectives.choice import Choice
from heartopt.training.objectives.listening import listening_terms


def bypass_terms(
    decoder: BypassDecoder, codec: HeartCodec, batch: Batch, choice: Choice, weights: Mapping[str, float]
) -> dict[str, Tensor]:
    """Audio losses of the codes' vectors after `project_out`, `decoder` and the waveform decoder.

    As wide as one channel's latents, the decoder gives mono audio; twice as wide, stereo.
    """
    latents = decoder(codec.flow_matching.vq_embed.project_out(choice.vectors))
    mono = decoder.latent_dim == codec.config.latent_hidden_dim

    def decode(own: Tensor) -> Tensor:
        audio = codec.scalar_model.decode(own.transpose(1, 2)) if mono else codec.decode_latents(own)
        return audio[0]

    recompute = codec.flow_matching.estimator.gradient_checkpointing  # one wish to save memory, wherever it goes
    return listening_terms(decode, latents, batch, weights, hop=codec.hop, recompute=recompute)
