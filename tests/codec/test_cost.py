"""Against what torch counts and keeps when the same modules run; at the release's size on the meta device."""

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from heartopt import HeartCodec, HeartCodecConfig
from heartopt.codec.cost import LOSS_BYTES, OBJECTIVES, training_cost
from heartopt.codec.cost_flow import estimator_cost, quantizer_cost
from heartopt.codec.cost_parts import forward_flops, stored_values
from heartopt.codec.cost_scalar import (
    flops_per_second,
    kept_bytes_per_second,
    normed_bytes,
    scalar_decoder,
    scalar_encoder,
)
from heartopt.codec.embedded import embedded_folder
from heartopt.codec.quantizer import build_residual_vq, nearest_codes
from heartopt.errors import ConfigError
from heartopt.losses import LOSSES
from heartopt.projection import EncoderProjection
from heartopt.training.crops import Batch
from heartopt.training.draws import step_draws
from heartopt.training.model import BypassDecoder, Trained
from heartopt.training.objectives import objective_terms, term_weights, weighted
from heartopt.training.settings import OBJECTIVES as TRAINED_OBJECTIVES
from heartopt.training.settings import PRECISIONS, TrainSettings

CONFIGS = {
    "release": HeartCodecConfig(),
    "mini": HeartCodecConfig.from_pretrained(embedded_folder()),
    "tiny": HeartCodecConfig.from_pretrained(Path(__file__).parents[1] / "data" / "codec"),
}
# Odd sizes, to catch what equal defaults would hide.
CONFIGS["odd"] = HeartCodecConfig(
    **{"dim": 96, "codebook_size": 50, "codebook_dim": 24, "num_quantizers": 3, "in_channels": 352},
    **{"attention_head_dim": 20, "num_attention_heads": 3, "num_layers": 3, "num_layers_2": 2, "out_channels": 128},
    **{"latent_hidden_dim": 64, "init_channel": 3, "res_kernel_size": 5, "default_kernel_size": 9},
    **{"delay_kernel_size": 3, "num_samples": 4, "downsample_factors": (2, 3), "downsample_kernel_sizes": (4, 7)},
    **{"upsample_factors": (3, 2), "upsample_kernel_sizes": (6, 5)},
)


@pytest.fixture(params=CONFIGS)
def on_meta(request):
    with torch.device("meta"):
        return HeartCodec(CONFIGS[request.param]).requires_grad_(False)


@pytest.fixture(scope="module")
def small():
    """The embedded codec's sizes with random weights, frozen: large enough that its matrices are what counts."""
    torch.manual_seed(0)
    return HeartCodec(CONFIGS["mini"]).requires_grad_(False).eval()


def counted(run):
    """FLOPs of ``run()``; attention as plain matrix products, which torch counts on any device."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = run()
    return counter.get_total_flops(), result


def kept_bytes(run, *modules):
    """Bytes of all that autograd keeps of ``run()``, each piece of memory once, without the modules' own values."""
    own = {t.untyped_storage().data_ptr() for module in modules for t in [*module.parameters(), *module.buffers()]}
    pieces = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            pieces[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    return sum(storage.nbytes() for storage in pieces.values()), result


def test_every_part_stores_as_many_values_as_its_module(on_meta):
    values, state = stored_values(on_meta.config), on_meta.state_dict()

    def stored(prefix):
        return sum(tensor.numel() for name, tensor in state.items() if name.startswith(prefix))

    assert values.scalar_encoder == stored("scalar_model.encoder.")
    assert values.scalar_decoder == stored("scalar_model.decoder.")
    assert values.estimator == stored("flow_matching.estimator.")
    assert values.quantizer == stored("flow_matching.vq_embed.")
    assert values.condition == stored("flow_matching.cond_feature_emb.") + stored("flow_matching.zero_cond")
    assert values.total == stored("")


def test_the_release_has_1_66_billion_values():
    assert stored_values(CONFIGS["release"]).total == pytest.approx(1.66e9, rel=1e-3)


def test_the_scalar_models_flops(on_meta):
    seconds, config = 4, on_meta.config
    audio = torch.zeros(1, 1, seconds * config.sample_rate, device="meta")
    flops, latents = counted(lambda: on_meta.scalar_model.encode(audio))
    assert flops == pytest.approx(seconds * flops_per_second(scalar_encoder(config)), rel=1e-6)
    latents = latents.requires_grad_()
    flops, decoded = counted(lambda: on_meta.scalar_model.decode(latents))
    assert flops == pytest.approx(seconds * flops_per_second(scalar_decoder(config)), rel=1e-6)
    assert decoded.shape == audio.shape
    # The gradient of the input alone costs as much again.
    assert counted(decoded.sum().backward)[0] == pytest.approx(flops, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "frames", "checkpointing"),
    [("release", 744, False), ("mini", 300, True), ("odd", 7, False), ("odd", 300, False), ("odd", 300, True)],
)
def test_the_estimators_flops(name, frames, checkpointing):
    config = CONFIGS[name]
    cost = estimator_cost(config)
    with torch.device("meta"):
        estimator = HeartCodec(config).flow_matching.estimator.requires_grad_(False)
    estimator.gradient_checkpointing = checkpointing
    x = torch.zeros(3, frames, config.in_channels, device="meta", requires_grad=True)
    flops, velocity = counted(lambda: estimator(x, timestep=torch.zeros(3, device="meta")))
    assert flops == 3 * cost.flops(frames)
    flops, _ = counted(velocity.sum().backward)
    # The recomputation stops at the last value that is needed: a block's last matrix is not computed again.
    few = 0.12 if checkpointing else 1e-9
    assert flops == pytest.approx(3 * cost.gradient_flops(frames, checkpointing=checkpointing), rel=few)


@pytest.mark.parametrize("name", ["release", "tiny", "odd"])
def test_the_quantizers_flops(name):
    config, codes = CONFIGS[name], 6
    cost, quantizer = quantizer_cost(config), build_residual_vq(config)
    features = torch.zeros(1, codes, config.dim)
    flops, e = counted(lambda: quantizer.project_in(features))
    assert flops == codes * cost.project_in
    assert counted(lambda: quantizer.project_out(e))[0] == codes * cost.project_out
    assert counted(lambda: nearest_codes(quantizer.codebooks, e))[0] == codes * cost.search


def test_a_second_of_audio_adds_the_parts_up():
    config, frames = CONFIGS["release"], 744
    forward = forward_flops(config, frames)
    assert forward.estimator == pytest.approx(estimator_cost(config).flops(frames) / 29.76)
    assert forward.scalar_decoder == flops_per_second(scalar_decoder(config))
    # By hand: two FLOPs for each of the estimator's 1.38 G matrix values that act on every frame, 25 times a second.
    assert forward.estimator == pytest.approx(2 * 1.38e9 * 25, rel=0.1)
    assert forward.condition == 2 * 512 * 512 * 12.5
    with pytest.raises(ConfigError, match="at least 1"):
        forward_flops(config, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["tiny", "mini"])
def test_what_the_estimators_gradient_needs(name, dtype):
    config, frames = CONFIGS[name], 40
    estimator = HeartCodec(config).flow_matching.estimator.requires_grad_(False).to(dtype)
    x, times, cost = torch.randn(2, frames, config.in_channels), torch.rand(2), estimator_cost(config)

    def run():
        return estimator(x.clone().requires_grad_(), timestep=times)

    # The velocity's squared error is the loss' own.
    loss = 2 * frames * 4 * config.out_channels
    whole = 2 * cost.kept_bytes(frames, width=dtype.itemsize, checkpointing=False) - loss
    assert kept_bytes(run, estimator)[0] == pytest.approx(whole, rel=0.05)
    estimator.gradient_checkpointing = True
    block = 2 * frames * max(stage.kept_bytes(dtype.itemsize) for stage in cost.stages)
    inputs = 2 * cost.kept_bytes(frames, width=dtype.itemsize, checkpointing=True) - loss - block
    assert kept_bytes(run, estimator)[0] == pytest.approx(inputs, rel=0.05)


def test_what_the_waveform_decoders_gradient_needs(small):
    latents = torch.randn(2, 128, 25).tanh().requires_grad_()
    convs = scalar_decoder(small.config)
    expected = 2 * kept_bytes_per_second(convs) + normed_bytes(convs)
    assert kept_bytes(lambda: small.scalar_model.decode(latents), small)[0] == pytest.approx(expected, rel=0.02)


def test_what_the_spectral_losses_gradients_need():
    audio, target = torch.randn(2, 1, 96_000)
    audio.requires_grad_()
    kept = sum(kept_bytes(lambda name=name: LOSSES[name](audio, target))[0] for name in ("stft_log1p", "mel_log1p"))
    assert kept / 96_000 == pytest.approx(LOSS_BYTES, rel=0.02)


def step_of(codec, objective, batch, codes, hidden_dim):
    """A forward pass of the real training step, which gives its loss."""
    settings = TrainSettings(
        **{"projection_type": "linear", "hidden_dim": hidden_dim, "latent_dim": 256, "batch_size": batch},
        **{"frames": 2 * codes, "steps": 10, "learning_rate": 1e-3, "warmup_steps": 0, "grad_clip": 0.5},
        **{"weight_decay": 0.0, "commitment_weight": 0.25, "init": "random", "seed": 0, "max_seconds_per_song": None},
        **{"objective": {objective: 1.0}, "ode_steps": 2},
    )
    config = codec.config
    latents = torch.randn(batch, 2 * codes, 256).tanh()
    given = Batch(
        latents,
        latents,
        torch.ones(batch, 2 * codes, dtype=torch.bool),
        audio=0.1 * torch.randn(batch, 2, 2 * codes * codec.hop),
        tokens=torch.randint(config.codebook_size, (batch, config.num_quantizers, codes)),
    )
    model = Trained(EncoderProjection(256, config.dim, hidden_dim), BypassDecoder(config.dim, 256))
    draws = step_draws(settings, step=0, items=range(batch), total=batch, batch=given)

    def run():
        return weighted(objective_terms(model, codec, given, draws, settings=settings).terms, term_weights(settings))

    return run, model


@pytest.mark.parametrize(
    # The tiny codec's waveform decoder computes less than the mel loss.
    ("name", "objective"),
    [*(("mini", objective) for objective in OBJECTIVES), ("tiny", "flow"), ("tiny", "distill")],
)
def test_a_whole_training_step(small, codec, name, objective):
    chosen, batch, codes, hidden = {"tiny": codec, "mini": small}[name], 2, 6, 64
    run, model = step_of(chosen, objective, batch, codes, hidden)
    cost = training_cost(chosen.config, objective, batch, codes * 0.08, hidden_dim=hidden, ode_steps=2)
    forward, loss = counted(run)
    backward, _ = counted(loss.backward)
    few = 0.04 if objective in ("bypass", "ode") else 1e-9  # torch also counts the mel loss' bank
    assert forward + backward == pytest.approx(cost.flops_per_step, rel=few)
    if objective in ("flow", "bypass"):  # the others' peaks are on the way back
        assert kept_bytes(run, chosen, model)[0] == pytest.approx(cost.activation_bytes, rel=0.1)
    assert cost.audio_seconds == pytest.approx(batch * codes * 0.08)


def test_weights_are_those_of_the_parts_that_an_objective_uses():
    config, values = CONFIGS["release"], stored_values(CONFIGS["release"])
    projection = sum(parameter.numel() for parameter in EncoderProjection(256, 512, 256).parameters())
    decoder = sum(parameter.numel() for parameter in BypassDecoder(512, 256).parameters())
    shared = 16 * projection + 4 * values.quantizer
    transformer, scalar = values.estimator + values.condition, values.scalar_encoder + values.scalar_decoder
    expected = {
        "flow": shared + 2 * transformer,
        "bypass": shared + 16 * decoder + 4 * scalar,
        "ode": shared + 2 * transformer + 4 * scalar,
        "distill": shared,
    }
    for objective, weights in expected.items():
        assert training_cost(config, objective, 4, 5.0, precision="bfloat16").weights_bytes == weights


def test_costs_grow_as_they_should():
    config = CONFIGS["release"]
    one, two = (training_cost(config, "flow", batch, 29.76) for batch in (1, 2))
    assert two.flops_per_step == 2 * one.flops_per_step
    assert two.activation_bytes == 2 * one.activation_bytes
    assert two.weights_bytes == one.weights_bytes
    thrifty = training_cost(config, "flow", 2, 29.76, checkpointing=True)
    assert thrifty.activation_bytes < two.activation_bytes / 5
    assert 1.3 < thrifty.flops_per_step / two.flops_per_step < 1.5
    half = training_cost(config, "flow", 2, 29.76, precision="bfloat16")
    assert 0.5 < half.activation_bytes / two.activation_bytes < 0.65
    # Longer crops cost more a second, but only by attention.
    short = training_cost(config, "flow", 1, 2.0)
    assert 1 < one.flops_per_second / short.flops_per_second < 1.2
    mono = training_cost(config, "bypass", 2, 5.0, latent_dim=128)
    stereo = training_cost(config, "bypass", 2, 5.0)
    assert stereo.flops_per_step / mono.flops_per_step == pytest.approx(2, rel=0.01)
    assert mono.encode_flops / stereo.encode_flops == pytest.approx(1.5)


def test_gpu_hours_are_the_flops_over_the_rate():
    cost = training_cost(CONFIGS["release"], "flow", 8, 29.76)
    assert cost.memory_bytes == cost.weights_bytes + cost.activation_bytes
    encode, learn = cost.encode_flops, cost.flops_per_step / (8 * 29.76)
    assert cost.gpu_hours(400, epochs=10, teraflops=50) == pytest.approx(400 * (encode + 10 * learn) / 50e12)
    assert cost.gpu_hours(800, epochs=10, teraflops=50) == pytest.approx(
        2 * cost.gpu_hours(400, epochs=10, teraflops=50)
    )


def test_names_are_those_of_the_settings():
    assert OBJECTIVES == TRAINED_OBJECTIVES
    for precision in PRECISIONS:
        training_cost(CONFIGS["tiny"], "flow", 1, 1.0, precision=precision)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flow2", 1, 1.0), "choose of flow"),
        (("flow", 0, 1.0), "at least one crop"),
        (("flow", 1, 0.01), "at least one crop"),
    ],
)
def test_steps_that_are_none_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        training_cost(CONFIGS["tiny"], *arguments)
    with pytest.raises(ConfigError, match="choose of"):
        training_cost(CONFIGS["tiny"], "flow", 1, 1.0, precision="int8")
