import torch
from torch.testing import assert_close

from heartopt.codec.transformer import rotary_angles, rotate


def test_estimator_equals_the_reference(codec, golden):
    velocity = codec.flow_matching.estimator(golden["estimator_input"], timestep=golden["estimator_time"])
    assert_close(velocity, golden["estimator_output"], rtol=1e-4, atol=1e-5)


def test_rotation_turns_each_pair_by_position_times_frequency():
    cos, sin = rotary_angles(4, 6, torch.device("cpu"))
    x = torch.zeros(1, 1, 4, 6)
    x[..., 2] = 1  # the even member of the second pair
    turned = rotate(x, cos, sin)[0, 0]
    angle = torch.arange(4) * 10_000 ** (-2 / 6)
    assert_close(turned[:, 2], angle.cos())
    assert_close(turned[:, 3], angle.sin())
    assert turned[:, [0, 1, 4, 5]].abs().max() == 0


def test_checkpointing_changes_memory_and_not_the_gradient(codec, golden):
    def gradient() -> torch.Tensor:
        x = golden["estimator_input"].clone().requires_grad_(True)
        codec.flow_matching.estimator(x, timestep=golden["estimator_time"]).square().sum().backward()
        return x.grad

    plain = gradient()
    codec.activation_checkpointing_enable()
    try:
        assert codec.flow_matching.estimator.gradient_checkpointing
        checkpointed = gradient()
    finally:
        codec.activation_checkpointing_disable()
    assert not codec.flow_matching.estimator.gradient_checkpointing
    assert_close(checkpointed, plain)
