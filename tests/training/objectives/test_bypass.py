from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from heartopt.codec import HeartCodec
from heartopt.losses import stft_log1p
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.model import BypassDecoder, Trained
from heartopt.training.objectives import Terms, choose, term_weights, weighted
from heartopt.training.settings import TrainSettings

Make = Callable[..., TrainSettings]
TermsOf = Callable[..., Terms]


def test_it_never_touches_the_flow_transformer(
    codec: HeartCodec, settings: Make, terms_of: TermsOf, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("the estimator was called")

    monkeypatch.setattr(codec.flow_matching.estimator, "forward", touched)
    monkeypatch.setattr(codec.flow_matching.cond_feature_emb, "forward", touched)
    chosen = settings(objective={"bypass": 1.0})
    weighted(terms_of(chosen, batch).terms, term_weights(chosen)).backward()
    with pytest.raises(AssertionError, match="was called"):
        terms_of(settings(), batch)


@pytest.mark.parametrize("mono", [False, True])
def test_it_is_the_loss_of_the_small_decoders_audio(
    mono: bool, codec: HeartCodec, settings: Make, terms_of: TermsOf, batch: Batch
) -> None:
    assert batch.audio is not None
    width = codec.config.latent_hidden_dim * (1 if mono else 2)
    torch.manual_seed(0)
    decoder = BypassDecoder(codec.config.dim, width)
    model = Trained(EncoderProjection(256, codec.config.dim, 16), decoder)
    with torch.no_grad():
        term = terms_of(settings(objective={"bypass": 1.0}), batch, model=model).terms["bypass_stft"]
        vectors = choose(model.projection, codec, batch).vectors
        latents = decoder(codec.flow_matching.vq_embed.project_out(vectors))
        audio = codec.scalar_model.decode(latents.transpose(1, 2)) if mono else codec.decode_latents(latents)
        target = batch.audio.mean(1, keepdim=True) if mono else batch.audio
        samples = [int(own) * codec.hop for own in batch.real.sum(1)]
        losses = [stft_log1p(e[:, :n], t[:, :n]) for e, t, n in zip(audio, target, samples, strict=True)]
    assert audio.shape == target.shape
    torch.testing.assert_close(term, torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)
