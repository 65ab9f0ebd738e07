import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from heartopt.errors import CheckpointError
from heartopt.projection import PROJECTION_TYPES, EncoderProjection, load_projection


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_the_reports_checkpoints_give_the_reports_features(kind, data_folder):
    projection = load_projection(data_folder / f"reference_projection_{kind}.pt")
    with np.load(data_folder / "projection_and_loss_io.npz", allow_pickle=False) as stored:
        latents, features = (torch.from_numpy(stored[f"{kind}_{name}"]) for name in ("latents", "features"))
    assert (projection.projection_type, projection.hidden_dim) == (kind, 64)
    assert projection.latents == "pre_tanh"
    assert_close(projection(latents), features, rtol=1e-4, atol=1e-5)


def test_the_reports_positional_form_holds():
    projection = EncoderProjection(128, 512, 256)
    assert (projection.latent_dim, projection.output_dim, projection.hidden_dim) == (128, 512, 256)
    assert projection.projection_type == "linear"


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(PROJECTION_TYPES), st.sampled_from([128, 256]), st.integers(1, 2), st.integers(1, 9))
def test_project_always_ends_at_half_the_latents_rate(kind, latent_dim, batch, frames):
    projection = EncoderProjection(latent_dim, 64, 64, projection_type=kind)
    assert projection.project(torch.randn(batch, 2 * frames, latent_dim)).shape == (batch, frames, 64)


@pytest.mark.parametrize(("bridge", "expected"), [("mean", [0.5, 2.5, 4.5]), ("first", [0.0, 2.0, 4.0])])
def test_the_rate_bridge(bridge, expected):
    projection = EncoderProjection(128, 4, 8, bridge=bridge)
    ramp = torch.arange(6.0)[None, :, None].expand(1, 6, 4)
    projection.net = torch.nn.Identity()
    assert torch.equal(projection.project(ramp)[0, :, 0], torch.tensor(expected))


def test_query_tokens_do_not_depend_on_how_much_of_the_song_is_given():
    torch.manual_seed(0)
    projection = EncoderProjection(256, 64, 64, projection_type="query")
    latents = torch.randn(1, 200, 256)
    whole = projection.project(latents)
    part = projection.project(latents[:, 40:160])
    margin = 16  # four layers, four code frames each
    assert_close(part[:, margin:-margin], whole[:, 20 + margin : 80 - margin], rtol=1e-4, atol=1e-5)
    assert (part[:, 0] - whole[:, 20]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"projection_type": "mlp3"}, "choose one of linear, conv1d, query"),
        ({"projection_type": "conv1d", "hidden_dim": 12}, "multiple of 8"),
        ({"projection_type": "query", "hidden_dim": 100}, "multiple of 64"),
        ({"hidden_dim": 0}, "multiple of 1"),
        ({"bridge": "max"}, "bridge 'max'"),
    ],
)
def test_settings_that_make_no_projection_are_refused(arguments, message):
    with pytest.raises(CheckpointError, match=message):
        EncoderProjection(**arguments)
