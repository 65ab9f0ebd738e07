import pytest
import torch
from torch.testing import assert_close

from heartopt import HeartCodec
from heartopt.codec.windows import WindowPlan
from heartopt.errors import CodecError

PARITY = {"rtol": 1e-4, "atol": 1e-5}


def stored_run(golden, name):
    duration, steps, guidance, windows, _ = golden[f"{name}_meta"].tolist()
    noise = [golden[f"{name}_noise{i}"] for i in range(int(windows))]
    return {"duration": duration, "num_steps": int(steps), "guidance_scale": guidance, "noise": noise}


@pytest.mark.parametrize("name", ["detok_short", "detok_long"])
def test_each_window_of_a_whole_run_equals_the_reference(codec, golden, name):
    run = stored_run(golden, name)
    plan = WindowPlan.of_duration(run.pop("duration"))
    codes, context = golden[f"{name}_codes"][None], None
    noise = run.pop("noise")
    for window in plan.windows(codes.shape[-1]):
        latents = codec.window_latents(codes, window, noise=noise[window.index], context=context, **run)
        assert_close(latents, golden[f"{name}_latents{window.index}"], **PARITY)
        context = latents[:, plan.hop * 2 :]


@pytest.mark.parametrize("name", ["detok_short", "detok_long"])
def test_the_waveform_of_the_stored_latents_equals_the_reference(codec, golden, name, monkeypatch):
    # The stored latents are decoded, because one on a rounding border may fall to the other side.
    run = stored_run(golden, name)
    stored = [golden[f"{name}_latents{i}"] for i in range(len(run["noise"]))]
    monkeypatch.setattr(codec, "window_latents", lambda codes, window, **_: stored[window.index])
    audio = codec.detokenize(golden[f"{name}_codes"], **run)
    assert_close(audio, golden[f"{name}_wav"].float(), rtol=0, atol=2e-3)


def test_a_whole_run_is_the_reference_but_for_single_rounded_latents(codec, golden):
    audio = codec.detokenize(golden["detok_long_codes"], **stored_run(golden, "detok_long"))
    assert audio.shape == (2, 100 * 3840)
    assert (audio - golden["detok_long_wav"].float()).abs().median() < 1e-3


def test_two_windows_follow_where_the_reference_would_lose_the_last_codes(codec):
    plan = WindowPlan.of_duration(7.44)
    frames = plan.hop + 2 * plan.overlap
    codes = torch.randint(0, 128, (4, frames), generator=torch.Generator().manual_seed(0))
    audio = codec.detokenize(codes, 7.44, 1, generator=torch.Generator().manual_seed(0))
    assert audio.shape == (2, frames * 3840)
    lost = audio[:, plan.codes * 3840 :]
    assert lost.shape[-1] == plan.overlap * 3840
    assert lost.abs().amax(1).min() > 1e-3


@pytest.mark.parametrize(("frames", "steps", "windows"), [(1, 3, 1), (93, 2, 1), (94, 2, 2), (240, 3, 3)])
def test_estimator_runs_steps_times_windows(codec, frames, steps, windows, monkeypatch):
    calls = []
    forward = codec.flow_matching.estimator.forward
    monkeypatch.setattr(
        codec.flow_matching.estimator, "forward", lambda x, timestep: calls.append(x.shape) or forward(x, timestep)
    )
    codec.detokenize(torch.zeros(4, frames, dtype=torch.int64), 7.44, steps)
    assert len(calls) == steps * windows


def test_blocks_come_as_they_are_decoded(codec, monkeypatch):
    decoded = []
    window_latents = codec.window_latents
    monkeypatch.setattr(
        codec,
        "window_latents",
        lambda codes, window, **rest: decoded.append(1) or window_latents(codes, window, **rest),
    )
    stream = codec.detokenize_stream(torch.zeros(1, 4, 240, dtype=torch.int64), duration=7.44, num_steps=1)
    after = [(len(decoded), block.shape[-1] // 3840) for block in stream]
    assert after == [(1, 80), (2, 80), (3, 80)]


def test_the_same_seed_gives_the_same_audio_alone_and_in_a_batch(codec):
    codes = torch.randint(0, 128, (2, 4, 100), generator=torch.Generator().manual_seed(3))
    batch = codec.detokenize(codes, 7.44, 2, generator=torch.Generator().manual_seed(5))
    alone = codec.detokenize(codes[1], 7.44, 2, generator=torch.Generator().manual_seed(5))
    assert_close(batch[1], alone, rtol=1e-3, atol=1e-3)
    other = codec.detokenize(codes[1], 7.44, 2, generator=torch.Generator().manual_seed(6))
    assert (other - alone).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(3, 5, dtype=torch.int64), r"\[4, frames\]"),
        (torch.zeros(4, 0, dtype=torch.int64), r"\[4, frames\]"),
        (torch.zeros(4, 5), "give integers"),
        (torch.full((4, 5), 128), "0 to 127"),
        (torch.full((4, 5), -1), "0 to 127"),
    ],
)
def test_codes_that_are_not_the_codecs_are_refused(codec, codes, message):
    with pytest.raises(CodecError, match=message):
        codec.detokenize(codes, 7.44, 1)


def test_noise_for_another_number_of_windows_is_refused(codec):
    codes = torch.zeros(4, 5, dtype=torch.int64)
    with pytest.raises(CodecError, match="2 noise tensors for 1 windows"):
        codec.detokenize(codes, 7.44, 1, noise=[torch.zeros(1, 186, 256)] * 2)
    for shape in ((186, 256), (1, 185, 256), (1, 186, 255), (2, 186, 256)):
        with pytest.raises(CodecError, match=r"give \[1, 186, 256\]"):
            codec.detokenize(codes, 7.44, 1, noise=[torch.zeros(shape)])
    with pytest.raises(CodecError, match="at least 1"):
        codec.detokenize(codes, 7.44, 0)


def test_long_audio_encodes_in_chunks_as_in_one_piece(codec):
    audio = 0.1 * torch.randn(1, 2, 21 * 48_000 + 77, generator=torch.Generator().manual_seed(0))
    latents = codec.encode_latents(audio)
    frames = -(-audio.shape[-1] // 3840)
    assert latents.shape == (1, 2 * frames, 256)
    padded = torch.nn.functional.pad(audio, (0, frames * 3840 - audio.shape[-1]))
    whole = codec.scalar_model.encode(padded.transpose(0, 1))
    assert_close(latents[0], torch.cat((whole[0], whole[1])).T, **PARITY)


def test_mono_fills_both_channels_of_the_latents(codec, golden):
    latents = codec.encode_latents(golden["scalar_audio"][:1])
    assert torch.equal(latents[..., :128], latents[..., 128:])
    assert_close(latents[..., :128], golden["scalar_latents"][:1].transpose(1, 2), **PARITY)


def test_bfloat16_runs_the_transformer_and_keeps_the_waveform_in_float32(codec_folder, codec):
    half = HeartCodec.from_pretrained(codec_folder, dtype=torch.bfloat16)
    assert half.flow_matching.estimator.proj_in.ffn_1.weight.dtype == torch.bfloat16
    assert {p.dtype for p in half.scalar_model.parameters()} == {torch.float32}
    assert torch.equal(half.flow_matching.codebooks, codec.flow_matching.codebooks)
    assert half.fingerprint() == codec.fingerprint()
    codes = torch.randint(0, 128, (4, 93), generator=torch.Generator().manual_seed(0))
    noise = [torch.randn(1, 186, 256, generator=torch.Generator().manual_seed(1))]
    rough, exact = (c.detokenize(codes, 7.44, 2, noise=noise) for c in (half, codec))
    assert rough.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(rough.flatten(), exact.flatten(), dim=0) > 0.9


def test_fingerprint_is_of_the_weights(codec, codec_folder):
    assert HeartCodec.from_pretrained(codec_folder).fingerprint() == codec.fingerprint()
    built = HeartCodec(codec.config)
    built.load_state_dict(codec.state_dict())
    assert built.fingerprint() == codec.fingerprint()
    other = HeartCodec(codec.config)
    assert other.fingerprint() != codec.fingerprint()


def test_a_codec_keeps_its_quantizer_in_eval_mode_from_the_start(codec):
    assert not HeartCodec(codec.config).flow_matching.vq_embed.training
