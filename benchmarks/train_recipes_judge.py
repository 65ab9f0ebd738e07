"""How a trained projection is judged for `train_recipes.py`: the held-out flow loss and the decoded suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from heartopt.audio import SAMPLE_RATE, read_audio, stereo
from heartopt.codec import HeartCodec
from heartopt.codec.flow import LATENTS_PER_CODE
from heartopt.errors import CheckpointError, ConfigError
from heartopt.evaluation import evaluate, load_suite
from heartopt.evaluation.controls import random_codes
from heartopt.evaluation.oracle import has_oracle, oracle_codes
from heartopt.evaluation.systems import NEED_PROJECTION, default_systems
from heartopt.projection import EncoderProjection
from heartopt.training.cache import LatentCache, default_cache
from heartopt.training.checkpoints import LATEST, read_state
from heartopt.training.crops import Batch, Crop, even_crops, read_crops
from heartopt.training.data import Encoding, find_songs, prepare
from heartopt.training.draws import fixed_draws

if TYPE_CHECKING:
    from train_recipes import Recipes

#: Times in [0, 1) at which each crop is judged, one in each part.
PASSES = 8


class HeldOutFlow:
    """The decoder's own loss on fixed crops of held-out songs, whatever made the codes; the same noise for all."""

    def __init__(
        self, songs: Path, codec: HeartCodec, *, seconds: float, count: int, cache: Path | None = None
    ) -> None:
        """`seconds`: of a crop; `count`: of crops, spread over the songs. Encodes what the cache does not have."""
        self.codec = codec
        self.frames = 2 * round(seconds * SAMPLE_RATE / codec.samples_per_code)
        store = LatentCache(cache or default_cache(), codec.fingerprint())
        library = prepare(find_songs(songs), codec=codec, cache=store, encoding=Encoding(mono=False))
        self.crops = even_crops(library.songs, frames=self.frames, count=count)

    def of_projection(self, projection: EncoderProjection) -> float:
        """The loss of a projection, mean over crops and times. Raises ConfigError for one that reads other latents."""
        flow = self.codec.flow_matching
        if projection.latent_dim != self.codec.config.out_channels or projection.latents != "tanh":
            raise ConfigError("recipes are compared on left | right latents after the tanh; leave latent_dim alone")
        return self._mean(lambda _, batch: flow.quantize(flow.project_in(projection.project(batch.inputs))).codes)

    def of_oracle(self) -> float:
        """That of the codec's withheld encoder, which hears whole songs."""
        songs = {crop.song.path for crop in self.crops}
        codes = {path: oracle_codes(stereo(read_audio(path)), self.codec) for path in songs}
        return self._mean(lambda crop, _: self._part(codes[crop.song.path], crop))

    def of_random_codes(self) -> float:
        """That of random codes."""
        config = self.codec.config
        sizes = {"num_quantizers": config.num_quantizers, "codebook_size": config.codebook_size}
        samples = self.frames * self.codec.hop
        return self._mean(lambda crop, _: random_codes(samples, seed=crop.start, **sizes)[None])

    def _part(self, codes: Tensor, crop: Crop) -> Tensor:
        """A crop's own codes `[1, K, F]` from its song's `[K, F']`; a short song is looped, as its latents are."""
        first, frames = crop.start // LATENTS_PER_CODE, self.frames // LATENTS_PER_CODE
        own = codes[None, :, first : first + frames]
        return own[..., torch.arange(frames) % own.shape[-1]]

    @torch.no_grad()
    def _mean(self, codes_of: Callable[[Crop, Batch], Tensor]) -> float:
        flow, device = self.codec.flow_matching, self.codec.scalar_device
        losses: list[float] = []
        for crop in self.crops:
            batch = read_crops([crop], self.frames).to(device)
            condition = flow.condition(codes_of(crop, batch).to(device)).float()
            channels = batch.targets.shape[-1]
            keys = [f"{crop.song.digest}:{crop.start}"]
            for drawn in fixed_draws(keys, frames=self.frames, channels=channels, times=PASSES):
                drawn = drawn.to(device)
                loss = flow.flow_loss(batch.targets, condition, times=drawn.times, noise=drawn.noise, frames=batch.real)
                losses.append(float(loss))
        return sum(losses) / len(losses)


def last_projection(folder: Path, codec: HeartCodec) -> EncoderProjection:
    """The projection as it was after the last step of the run in `folder`. Raises CheckpointError."""
    header, tensors = read_state(folder / LATEST)
    names = ("hidden_dim", "projection_type", "latents")
    settings = {name: header["settings"][name] for name in names}
    projection = EncoderProjection(header["settings"]["latent_dim"], codec.config.dim, **settings)
    prefix = "model.projection."
    weights = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        projection.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / LATEST}: holds no whole projection") from error
    return projection.requires_grad_(False).eval().to(codec.scalar_device)


def judge_projection(
    recipes: Recipes, codec: HeartCodec, projection: EncoderProjection, held_out: HeldOutFlow
) -> dict[str, Any]:
    """`flow`: the held-out loss; `rows`: of the suite's songs; `judging`: how they were judged."""
    return {"flow": held_out.of_projection(projection), **_judge(recipes, codec, ["projection"], projection)}


def judge_baselines(recipes: Recipes, codec: HeartCodec, held_out: HeldOutFlow) -> dict[str, Any]:
    """`flows` by system, where a system makes codes; `rows` and `judging` of all systems without a projection."""
    suite = load_suite(recipes.suite)
    names = [name for name in default_systems(codec, len(suite.songs)) if name not in NEED_PROJECTION]
    flows = {"random_codes": held_out.of_random_codes()}
    if has_oracle(codec):
        flows["oracle"] = held_out.of_oracle()
    return {"flows": flows, **_judge(recipes, codec, names)}


def _judge(
    recipes: Recipes, codec: HeartCodec, systems: Sequence[str], projection: EncoderProjection | None = None
) -> dict[str, Any]:
    found = evaluate(
        codec=codec, suite=recipes.suite, systems=systems, projection=projection, metrics=recipes.metrics
    ).to_json()
    if found["failed"]:
        first = found["failed"][0]
        raise ConfigError(f"{first['file']} ({first['system']}): {first['error']}")
    kept = ("file", "system", *recipes.metrics, "tier", "usage", "perplexity", "seconds")
    rows = [{key: row[key] for key in kept if key in row} for row in found["rows"]]
    judging = {key: found["settings"][key] for key in ("codec", "fingerprint", "judge_seeds", "decoding")}
    return {"rows": rows, "judging": {"suite": found["suite"], **judging}}
