"""The fast training loop that the training report describes, as a yardstick for `train_speed.py`; nothing else uses it.

What it does, every epoch and for every song: read the whole file, resample the whole of it to 48 kHz, mix it to mono,
keep a random crop, encode it (values before the tanh), project it at 25 Hz, quantize it residually with a
straight-through step and a commitment loss a level, map 512 -> 256 -> latents, decode the waveform, and compare it by
the report's STFT and mel losses, over the batch as one. AdamW, gradients clipped to 0.5, linear warm-up, then a cosine.

Its encoder does not run under `no_grad`. That costs nothing: no weight of the codec and no sample asks for a gradient,
so autograd keeps nothing of it. Its losses are heartopt's own (`heartopt.losses`), which agree with the report's
forms and do no more work; a step's checks for NaN are one here. Validation is off, as it is there without a folder
for it. On a GPU the report's script would use mixed precision; here everything is float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader, Dataset

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.errors import ConfigError
from heartopt.losses import mel_log1p, stft_log1p
from heartopt.projection import EncoderProjection

SHORTEST = 1.0  # seconds: shorter files are replaced by others
ATTEMPTS = 3
MEL, COMMITMENT, L2 = 0.5, 0.25, 0.001
WARM_UP = 2000  # steps, but at most a tenth of the run


@dataclass(frozen=True)
class Epoch:
    """One pass over the songs: `audio` seconds of crops in `wall` seconds; `loss` is NaN where none was taken."""

    audio: float
    wall: float
    loss: float


class RandomCrops(Dataset[Tensor]):
    """Item `i` is a random crop of song `i`, mono `[1, N]` at 48 kHz; the whole file is read for it, each time."""

    def __init__(self, songs: Sequence[Path], seconds: float) -> None:
        self.songs = list(songs)
        self.samples = int(seconds * SAMPLE_RATE)

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int) -> Tensor:
        for _ in range(ATTEMPTS):
            try:
                audio, rate = soundfile.read(self.songs[index], dtype="float32", always_2d=True)
            except (OSError, RuntimeError):  # libsndfile's own error is a RuntimeError
                index = self._another()
                continue
            crop = torch.from_numpy(audio.T)
            if rate != SAMPLE_RATE:
                crop = torchaudio.transforms.Resample(rate, SAMPLE_RATE)(crop)
            crop = crop.mean(0, keepdim=True)
            if crop.shape[1] >= SHORTEST * SAMPLE_RATE:
                return self._cut(crop)
            index = self._another()
        return torch.zeros(1, self.samples)

    def _another(self) -> int:
        return int(torch.randint(len(self.songs), ()))

    def _cut(self, audio: Tensor) -> Tensor:
        if (spare := audio.shape[1] - self.samples) > 0:
            start = int(torch.randint(spare, ()))
            audio = audio[:, start : start + self.samples]
        audio = functional.pad(audio, (0, self.samples - audio.shape[1]))
        return audio / audio.abs().max().clamp(min=1.0)


def quantize(e: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors `e` `[B, L, d]` -> summed straight-through code vectors `[B, L, d]` and the commitment loss `[]`.

    Level by level: the straight-through step is taken on each level's residual, whose value is the code's and whose
    gradient is its own; the commitment is the mean over levels of the squared distance to the chosen code.
    """
    total, residual, commitment = torch.zeros_like(e), e, e.new_zeros(())
    for codebook in codebooks:
        nearest = torch.cdist(residual, codebook.expand(len(e), -1, -1)).argmin(-1)
        chosen = codebook[nearest]
        commitment = commitment + functional.mse_loss(residual, chosen)
        total = total + residual + (chosen - residual).detach()
        residual = residual - chosen
    return total, commitment / len(codebooks)


class ReportLoop:
    """The loop over `songs`, an epoch a call. `epochs`: how many there will be, for the learning rate."""

    def __init__(
        self,
        songs: Sequence[Path],
        codec: HeartCodec,
        *,
        batch_size: int = 8,
        seconds: float = 5.0,
        epochs: int = 100,
        learning_rate: float = 1e-3,
        hidden_dim: int = 256,
        num_workers: int = 0,
    ) -> None:
        if len(songs) < batch_size:
            raise ConfigError(f"{len(songs)} songs: the report's loop drops a last batch of fewer than {batch_size}")
        self.codec = codec
        config = codec.config
        self.projection = EncoderProjection(config.latent_hidden_dim, config.dim, hidden_dim)
        self.decoder = nn.Sequential(nn.Linear(config.dim, 256), nn.GELU(), nn.Linear(256, config.latent_hidden_dim))
        self.parameters = [*self.projection.parameters(), *self.decoder.parameters()]
        for part in (self.projection, self.decoder):
            part.to(codec.scalar_device)
        self.loader: DataLoader[Tensor] = DataLoader(
            RandomCrops(songs, seconds), batch_size=batch_size, shuffle=True, drop_last=True, num_workers=num_workers
        )
        self.seconds = batch_size * seconds
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, weight_decay=0.01)
        steps = epochs * len(self.loader)
        warm_up = max(1, min(WARM_UP, steps // 10))
        self.schedule = SequentialLR(
            self.optimizer,
            [
                LinearLR(self.optimizer, start_factor=1e-6 / learning_rate, total_iters=warm_up),
                CosineAnnealingLR(self.optimizer, T_max=max(1, steps - warm_up), eta_min=learning_rate * 0.01),
            ],
            milestones=[warm_up],
        )

    def batches(self) -> Iterator[Tensor]:
        """This epoch's audio, `[B, N]` each."""
        for audio in self.loader:
            yield audio.to(self.codec.scalar_device).squeeze(1)

    def encode(self, audio: Tensor) -> Tensor:
        """Audio `[B, N]` -> latents before the tanh, `[B, L, C]`."""
        return self.codec.scalar_model.encode(audio[:, None], pre_tanh=True).transpose(1, 2)

    def step(self, audio: Tensor) -> float:
        """One optimizer step on `[B, N]`; returns the loss. A step whose loss or gradient is not finite is skipped."""
        self.optimizer.zero_grad()
        flow = self.codec.flow_matching
        features = self.projection(self.encode(audio))
        vectors, commitment = quantize(flow.project_in(features), flow.codebooks)
        latents = self.decoder(flow.vq_embed.project_out(vectors))
        heard = self.codec.scalar_model.decode(latents.transpose(1, 2)).squeeze(1)
        length = min(audio.shape[-1], heard.shape[-1])
        heard, audio = heard[:, :length], audio[:, :length]
        loss = (
            stft_log1p(heard, audio)
            + MEL * mel_log1p(heard, audio).clamp(max=10)
            + COMMITMENT * commitment
            + L2 * features.square().mean()
        )
        if loss.isfinite():
            loss.backward()
            if nn.utils.clip_grad_norm_(self.parameters, 0.5).isfinite():
                self.optimizer.step()
                self.schedule.step()
        return float(loss.detach())

    def train_epoch(self) -> Epoch:
        """One pass over the songs, training. Gradients are switched on, whatever the caller's mode."""
        with torch.inference_mode(False), torch.enable_grad():
            return self._epoch(self.step)

    def encode_epoch(self) -> Epoch:
        """One pass over the songs that reads, resamples, crops and encodes, and does nothing else."""

        def encode(audio: Tensor) -> float:
            self.encode(audio)
            return float("nan")

        return self._epoch(encode)

    def _epoch(self, work: Callable[[Tensor], float]) -> Epoch:
        began = time.perf_counter()
        losses = [work(audio) for audio in self.batches()]
        wall = time.perf_counter() - began
        return Epoch(self.seconds * len(losses), wall, sum(losses) / len(losses))
