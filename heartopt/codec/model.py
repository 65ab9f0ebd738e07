"""HeartCodec: latents, codes and waveforms of the 48 kHz stereo codec under HeartMuLa."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from heartopt.codec.config import HeartCodecConfig
from heartopt.codec.embedded import EMBEDDED_DURATION, embedded_folder
from heartopt.codec.flow import LATENTS_PER_CODE, FlowMatching
from heartopt.codec.loading import fingerprint, load_weights, locate, read_config, read_tensors
from heartopt.codec.scalar import ScalarModel
from heartopt.codec.windows import Window, WindowPlan, crossfade
from heartopt.errors import CodecError

RELEASE_DURATION = 29.76
ENCODE_CHUNK = 256  # latent frames of audio that are encoded in one piece (10.24 s)


class HeartCodec(PreTrainedModel):
    """The codec: ``scalar_model`` (waveform ↔ latents) and ``flow_matching`` (codes → latents)."""

    config_class = HeartCodecConfig
    base_model_prefix = ""
    main_input_name = "codes"
    supports_gradient_checkpointing = True

    def __init__(self, config: HeartCodecConfig) -> None:
        super().__init__(config)
        self.flow_matching = FlowMatching(config)
        self.scalar_model = ScalarModel(config)
        self.name = config.name_or_path or "heartcodec"
        self.default_duration = RELEASE_DURATION
        self.folder: Path | None = None
        self._fingerprint: str | None = None
        self.flow_matching.vq_embed.eval()
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Keep the layers' own initialization: a codec is loaded, not trained, here."""

    def train(self, mode: bool = True) -> HeartCodec:
        """Switch all but the residual VQ, which would move its codebooks in training mode."""
        super().train(mode)
        self.flow_matching.vq_embed.eval()
        return self

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path = "mini",
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> HeartCodec:
        """Load a codec strictly by tensor name, frozen and in eval mode.

        Args:
            pretrained_model_name_or_path: ``"mini"`` (the embedded codec), a folder, or a Hugging Face hub id.
            revision: branch, tag or commit on the hub.
            local_files_only: never ask the network.
            dtype: of the flow-matching transformer; the ScalarModel and the residual VQ stay in float32.

        Raises:
            CodecError: not found, or a tensor is missing, unknown or of another shape.
            ConfigError: a ``revision`` of what is not on the hub.
        """
        folder = locate(pretrained_model_name_or_path, revision=revision, local_files_only=local_files_only)
        config = read_config(folder)
        try:
            with torch.device("meta"):
                codec = cls(config)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise CodecError(f"codec {folder}: config.json describes no codec: {error}") from error
        load_weights(codec, folder, dtype)
        codec.config.dtype = dtype
        codec.name = str(pretrained_model_name_or_path)
        codec.folder = folder
        if folder.resolve() == embedded_folder().resolve():
            codec.default_duration = EMBEDDED_DURATION
        codec.requires_grad_(False)
        codec.train(False)
        codec.to(device)  # type: ignore[arg-type]
        return codec

    @property
    def hop(self) -> int:
        """Samples of one latent frame (1920)."""
        return self.scalar_model.hop

    @property
    def samples_per_code(self) -> int:
        """Samples of one code frame (3840)."""
        return self.hop * LATENTS_PER_CODE

    def fingerprint(self) -> str:
        """SHA-256 over the sorted tensor names, shapes and float32 bytes: the same for the same weights anywhere.

        Of the files that the codec was loaded from, whatever `dtype` it runs in.
        """
        if self._fingerprint is None:
            tensors = sorted(self.state_dict().items()) if self.folder is None else read_tensors(self.folder)
            self._fingerprint = fingerprint(tensors)
        return self._fingerprint

    def window_plan(self, duration: float | None = None) -> WindowPlan:
        """Decoding windows of ``duration`` seconds, or of the codec's own ``default_duration``. Raises CodecError."""
        return WindowPlan.of_duration(self.default_duration if duration is None else duration)

    def encode_channels(self, audio: Tensor, *, pre_tanh: bool = False) -> Tensor:
        """Audio ``[B, C, N]`` -> each channel's latents ``[B, C, L, 128]``, L = 2 · ceil(N / 3840).

        The end is zero-padded to a whole code frame. Long audio is encoded in chunks that begin far enough back
        to give exactly the result of one piece, so that memory stays flat.
        """
        if audio.ndim != 3 or audio.shape[-1] == 0:
            raise CodecError(f"audio of shape {list(audio.shape)}: give [B, C, N] with at least one sample")
        channels = audio.shape[1]
        flat = F.pad(audio, (0, -audio.shape[-1] % self.samples_per_code)).flatten(0, 1)[:, None]
        context = self.scalar_model.encoder_context
        pieces = []
        for start in range(0, flat.shape[-1] // self.hop, ENCODE_CHUNK):
            begin = max(start - context, 0)
            chunk = flat[..., begin * self.hop : (start + ENCODE_CHUNK) * self.hop]
            latents = self.scalar_model.encode(chunk.to(self.scalar_device), pre_tanh=pre_tanh)
            pieces.append(latents[..., start - begin :])
        latents = torch.cat(pieces, dim=-1).transpose(1, 2)
        return latents.reshape(-1, channels, *latents.shape[1:])

    def encode_latents(self, audio: Tensor) -> Tensor:
        """Audio ``[B, 1 | 2, N]`` at 48 kHz -> stereo latents left | right ``[B, L, 256]``; mono fills both."""
        latents = self.encode_channels(audio)
        if latents.shape[1] == 1:
            latents = latents.expand(-1, 2, -1, -1)
        return latents.transpose(1, 2).flatten(2)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Stereo latents ``[B, L, 256]`` -> audio ``[B, 2, L · 1920]`` in float32; differentiable."""
        channels = latents.float().unflatten(-1, (2, -1)).permute(0, 2, 3, 1)
        audio = self.scalar_model.decode(channels.flatten(0, 1))
        return audio.reshape(latents.shape[0], 2, -1)

    @property
    def scalar_device(self) -> torch.device:
        return next(self.scalar_model.parameters()).device

    def window_latents(
        self,
        codes: Tensor,
        window: Window,
        *,
        noise: Tensor,
        context: Tensor | None,
        num_steps: int = 10,
        guidance_scale: float = 1.25,
    ) -> Tensor:
        """Decode one window of whole-song codes ``[B, K, F]`` to latents ``[B, L, 256]``.

        ``noise`` ``[1 or B, L, 256]``; ``context`` ``[B, 2 · window.context, 256]``: the end of the window before.
        """
        filled = codes[..., window.positions(codes.shape[-1]).to(codes.device)]
        mu = self.flow_matching.condition(filled)
        return self.flow_matching.decode(
            noise.to(mu.device, torch.float32).expand(codes.shape[0], -1, -1),
            mu.float(),
            past=context,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
        )

    def detokenize_stream(
        self,
        codes: Tensor,
        *,
        duration: float | None = None,
        num_steps: int = 10,
        guidance_scale: float = 1.25,
        noise: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Decode codes ``[B, K, F]`` window by window; yields audio ``[B, 2, n]`` as it becomes final.

        Memory does not grow with the song. See `detokenize` for the arguments.
        """
        codes = self._checked(codes, num_steps)
        frames, plan = codes.shape[-1], self.window_plan(duration)
        if noise is not None and len(noise) != plan.count(frames):
            raise CodecError(f"{len(noise)} noise tensors for {plan.count(frames)} windows: give one a window")
        shape = (plan.codes * LATENTS_PER_CODE, self.config.out_channels)
        for drawn in noise or ():
            if drawn.ndim != 3 or drawn.shape[1:] != shape or drawn.shape[0] not in (1, codes.shape[0]):
                raise CodecError(
                    f"noise of shape {list(drawn.shape)}: give [1, {shape[0]}, {shape[1]}] for each window"
                )

        def blocks() -> Iterator[Tensor]:
            context: Tensor | None = None
            for window in plan.windows(frames):
                drawn = self.draw_noise(plan, generator) if noise is None else noise[window.index]
                latents = self.window_latents(
                    codes, window, noise=drawn, context=context, num_steps=num_steps, guidance_scale=guidance_scale
                )
                context = latents[:, plan.hop * LATENTS_PER_CODE :]
                # Item by item: the waveform decoder needs far more memory than the transformer.
                yield torch.cat([self.decode_latents(item[None]) for item in latents])

        yield from crossfade(blocks(), plan.overlap * self.samples_per_code, frames * self.samples_per_code)

    def detokenize(
        self,
        codes: Tensor,
        duration: float | None = None,
        num_steps: int = 10,
        guidance_scale: float = 1.25,
        noise: Sequence[Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Codes ``[K, F]`` -> audio ``[2, F · 3840]`` at 48 kHz; ``[B, K, F]`` -> ``[B, 2, F · 3840]``.

        Args:
            codes: integers in [0, codebook_size).
            duration: seconds of a window, a multiple of 7.44; default: `default_duration`.
            num_steps: Euler steps of the flow.
            guidance_scale: classifier-free guidance; 1 turns it off.
            noise: one tensor ``[1 or B, L, 256]`` a window.
            generator: where `noise` is not given: drawn on the CPU in float32, once a window, shared by the batch.

        Raises:
            CodecError: codes of another shape, type or range; a window that is no multiple of 7.44 s.
        """
        stream = self.detokenize_stream(
            codes if codes.ndim == 3 else codes[None],
            duration=duration,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            noise=noise,
            generator=generator,
        )
        audio = torch.cat(list(stream), dim=-1)
        return audio if codes.ndim == 3 else audio[0]

    def draw_noise(self, plan: WindowPlan, generator: torch.Generator | None) -> Tensor:
        """Noise of one window ``[1, L, 256]``, drawn on the CPU in float32 so that all devices agree."""
        return torch.randn(1, plan.codes * LATENTS_PER_CODE, self.config.out_channels, generator=generator)

    def _checked(self, codes: Tensor, num_steps: int) -> Tensor:
        if num_steps < 1:
            raise CodecError(f"{num_steps} solver steps: give at least 1")
        levels, size = self.config.num_quantizers, self.config.codebook_size
        if codes.ndim != 3 or codes.shape[1] != levels or codes.shape[2] == 0:
            raise CodecError(f"codes of shape {list(codes.shape)}: this codec decodes [{levels}, frames]")
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise CodecError(f"codes are {codes.dtype}: give integers")
        if codes.min() < 0 or codes.max() >= size:
            raise CodecError(f"codes from {int(codes.min())} to {int(codes.max())}: this codec has 0 to {size - 1}")
        return codes.to(self.flow_matching.codebooks.device, torch.int64)
