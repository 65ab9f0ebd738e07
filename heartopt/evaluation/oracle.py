"""The embedded codec's withheld encoder: the upper reference that a projection can be held against.

It was trained together with the embedded codec and ships for benchmarks alone. Layout and figures are in the
codec's card, beside the weights.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
import torchaudio
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from heartopt.audio import SAMPLE_RATE
from heartopt.codec import HeartCodec
from heartopt.codec.embedded import EMBEDDED, embedded_folder
from heartopt.errors import CheckpointError, CodecError

_FFT, _HOP, _BINS, _FLOOR = 2048, 960, 80, 1e-5
_LOW_HZ, _HIGH_HZ = 30.0, 20_000.0
_STACK = 4  # mel frames of 20 ms in one code frame of 80 ms
_LAYERS = 3


class OracleEncoder(nn.Module):
    """Log-mel of mid and side -> features at 12.5 Hz, the residual VQ's input; names as in the file."""

    mel_mean: Tensor
    mel_std: Tensor

    def __init__(self, hidden: int = 256, dim: int = 512) -> None:
        super().__init__()
        width = 2 * _BINS
        self.inp = nn.Linear(_STACK * width, hidden)
        self.c = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, padding=1) for _ in range(_LAYERS))
        self.n = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(_LAYERS))
        self.out = nn.Linear(hidden, dim)
        self.register_buffer("mel_mean", torch.zeros(width))
        self.register_buffer("mel_std", torch.ones(width))
        bank = torchaudio.functional.melscale_fbanks(
            _FFT // 2 + 1, _LOW_HZ, _HIGH_HZ, _BINS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("bank", bank.T.contiguous(), persistent=False)

    def mel(self, audio: Tensor) -> Tensor:
        """Stereo `[2, N]` -> normalized log10 mel of mid | side, `[N / 960, 160]`."""
        middle_side = torch.stack([audio[0] + audio[1], audio[0] - audio[1]]) / 2
        window = torch.hann_window(_FFT, device=audio.device)
        spectrum = torch.stft(middle_side, _FFT, _HOP, window=window, return_complex=True).abs()
        mels = (cast(Tensor, self.bank) @ spectrum).clamp(min=_FLOOR).log10()
        frames = mels.permute(2, 0, 1).flatten(1)[: audio.shape[-1] // _HOP]
        return (frames - self.mel_mean) / self.mel_std

    def forward(self, audio: Tensor) -> Tensor:
        """Stereo `[2, N]`, N a multiple of 3840 -> features `[F, 512]`."""
        h = self.inp(self.mel(audio).reshape(-1, self.inp.in_features))
        for conv, norm in zip(self.c, self.n, strict=True):
            h = h + functional.gelu(norm(conv(h.T).T))
        return cast(Tensor, self.out(h))


def has_oracle(codec: HeartCodec) -> bool:
    """Whether the codec's own encoder is at hand: only the embedded codec's is."""
    return codec.name == EMBEDDED


@torch.no_grad()
def oracle_codes(audio: Tensor, codec: HeartCodec) -> Tensor:
    """Stereo `[2, N]` at 48 kHz -> the withheld encoder's codes `[K, F]`, F = ceil(12.5 * seconds).

    Raises:
        CodecError: the codec is not the embedded one.
        CheckpointError: the package's weights are damaged.
    """
    if not has_oracle(codec):
        raise CodecError(f'codec {codec.name}: has no oracle encoder; only "{EMBEDDED}" has one')
    padded = functional.pad(audio.float().cpu(), (0, -audio.shape[-1] % codec.samples_per_code))
    features = _load(embedded_folder() / "oracle.safetensors")(padded).to(codec.flow_matching.codebooks.device)
    return codec.flow_matching.quantize(codec.flow_matching.project_in(features[None])).codes[0]


@lru_cache(maxsize=1)
def _load(path: Path) -> OracleEncoder:
    try:
        tensors = {name.removeprefix("oracle."): value.float() for name, value in load_file(path).items()}
        encoder = OracleEncoder()
        encoder.load_state_dict(tensors)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not the oracle encoder's weights; reinstall heartopt") from error
    return encoder.requires_grad_(False).eval()
