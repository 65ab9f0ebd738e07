import errno
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from heartopt.errors import CheckpointError, OutputError
from heartopt.projection import EncoderProjection, load_projection
from heartopt.projection.report_checkpoint import read_report_checkpoint, save_report_checkpoint


class ReportLinear(nn.Module):
    """The report's ``linear`` network as its readers build it, written down here on its own."""

    def __init__(self, latents, features, hidden):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(latents, hidden), nn.GELU(), nn.LayerNorm(hidden)),
            *(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden)),
            nn.Linear(hidden, features),
        )

    def forward(self, x):
        return self.net(x)


class ReportConv1d(nn.Module):
    """The report's ``conv1d`` network: kernels of 3, 3 and 1 frames, eight groups."""

    def __init__(self, latents, features, hidden):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv1d(latents, hidden, 3, padding=1), nn.GELU(), nn.GroupNorm(8, hidden)),
            *(nn.Conv1d(hidden, hidden, 3, padding=1), nn.GELU(), nn.GroupNorm(8, hidden)),
            nn.Conv1d(hidden, features, 1),
        )

    def forward(self, x):
        return self.net(x.permute(0, 2, 1)).permute(0, 2, 1)


REPORT = {"linear": ReportLinear, "conv1d": ReportConv1d}


def save(projection, path, **changed):
    arguments = {"epoch": 4, "global_step": 500, "best_loss": 1.5, "args": {"lr": 1e-3}} | changed
    save_report_checkpoint(projection, path, **arguments)


def own_checkpoint(path):
    save(EncoderProjection(128, 64, 32), path)
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_the_reports_own_network_reads_what_we_write(kind, tmp_path):
    projection = EncoderProjection(128, 512, 32, projection_type=kind, latents="pre_tanh")
    save(projection, tmp_path / "best_projection.pt", args={"projection_type": "wrong", "data_dir": Path("music")})
    checkpoint = torch.load(tmp_path / "best_projection.pt", weights_only=True)
    theirs = REPORT[kind](128, 512, checkpoint["args"]["hidden_dim"])
    theirs.load_state_dict(checkpoint["projection_state_dict"])
    latents = torch.randn(2, 10, 128)
    assert_close(theirs(latents), projection(latents), rtol=0, atol=0)
    assert checkpoint["args"] == {"projection_type": kind, "hidden_dim": 32, "data_dir": "music"}
    assert {name: checkpoint[name] for name in ("epoch", "global_step", "best_loss")} == {
        "epoch": 4,
        "global_step": 500,
        "best_loss": 1.5,
    }


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
@pytest.mark.parametrize("latents", ["tanh", "pre_tanh"])
@pytest.mark.parametrize("bridge", ["mean", "first"])
def test_what_we_write_comes_back_the_same(kind, latents, bridge, tmp_path):
    projection = EncoderProjection(256, 64, 32, projection_type=kind, latents=latents, bridge=bridge)
    projection.codec_fingerprint = "a" * 64
    save(projection, tmp_path / "p.pt", best_loss=math.inf)
    again = read_report_checkpoint(tmp_path / "p.pt")
    assert again.projection.settings == projection.settings
    assert again.projection.codec_fingerprint == "a" * 64
    assert (again.epoch, again.global_step, again.decoder) == (4, 500, None)
    assert all(torch.equal(again.projection.state_dict()[n], t) for n, t in projection.state_dict().items())
    assert load_projection(tmp_path / "p.pt").settings == projection.settings
    save(projection, tmp_path / "p.pt", fingerprint="b" * 64)
    assert load_projection(tmp_path / "p.pt").codec_fingerprint == "b" * 64


def test_a_projection_in_half_precision_is_written_in_full(tmp_path):
    projection = EncoderProjection(128, 64, 32).bfloat16()
    save(projection, tmp_path / "p.pt")
    again = load_projection(tmp_path / "p.pt")
    assert {t.dtype for t in again.state_dict().values()} == {torch.float32}
    assert torch.equal(again.net[0].weight, projection.net[0].weight.float())


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_the_reports_own_checkpoints_say_where_they_were(kind, data_folder):
    found = read_report_checkpoint(data_folder / f"reference_projection_{kind}.pt")
    assert (found.epoch, found.global_step) == (3, 77)
    assert found.projection.latents == "pre_tanh"
    assert found.projection.codec_fingerprint is None
    shapes = {name: tuple(tensor.shape) for name, tensor in found.decoder.items()}
    assert shapes == {
        "net.0.weight": (256, 512),
        "net.0.bias": (256,),
        "net.2.weight": (128, 256),
        "net.2.bias": (128,),
    }
    assert not any(parameter.requires_grad for parameter in found.projection.parameters())


def test_the_second_scripts_mlp_is_linear(tmp_path):
    theirs = ReportLinear(128, 512, 48)
    second = {
        "epoch": 7,
        "projection_state_dict": theirs.state_dict(),
        "loss": 2.5,
        "temperature": 0.4,
        "args": {"projection_type": "mlp", "model_type": "mlp", "hidden_dim": 48},
    }
    torch.save(second, tmp_path / "v2.pt")
    found = read_report_checkpoint(tmp_path / "v2.pt")
    assert (found.projection.projection_type, found.projection.hidden_dim) == ("linear", 48)
    assert (found.epoch, found.global_step) == (7, None)
    latents = torch.randn(1, 6, 128)
    assert_close(found.projection(latents), theirs(latents), rtol=0, atol=0)


def test_a_bare_state_dict_is_a_checkpoint_too(tmp_path):
    torch.save(ReportConv1d(128, 512, 16).state_dict(), tmp_path / "bare.pt")
    found = read_report_checkpoint(tmp_path / "bare.pt")
    assert (found.projection.projection_type, found.epoch) == ("conv1d", None)


def test_reading_leaves_the_random_state_alone(tmp_path):
    save(EncoderProjection(128, 64, 32), tmp_path / "p.pt")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_projection(tmp_path / "p.pt")
    assert torch.equal(torch.rand(1), expected)


def test_the_report_has_no_query_projection(tmp_path):
    with pytest.raises(CheckpointError, match="no query projection"):
        save(EncoderProjection(128, 64, 64, projection_type="query"), tmp_path / "p.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.pt"
    save(EncoderProjection(128, 64, 32), path)
    before = path.read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(EncoderProjection(128, 64, 32), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_arguments_that_only_code_could_restore_are_refused(tmp_path):
    with pytest.raises(TypeError):
        save(EncoderProjection(128, 64, 32), tmp_path / "p.pt", args={"codec": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_poisoned_pickle_is_refused_and_never_run(tmp_path):
    flag = tmp_path / "ran"

    class Poison:
        def __reduce__(self):
            return (open, (str(flag), "w"))

    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Poison()))
    torch.save({"projection_state_dict": Poison()}, tmp_path / "state.pt")
    torch.save(own_checkpoint(tmp_path / "good.pt") | {"args": Poison()}, tmp_path / "args.pt")
    for name in ("bare.pt", "state.pt", "args.pt"):
        with pytest.raises(CheckpointError, match="loads safely") as caught:
            read_report_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not flag.exists()


def changed_state(checkpoint, **changes):
    return checkpoint | {"projection_state_dict": checkpoint["projection_state_dict"] | changes}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [1, 2], "holds a list"),
        (lambda c: {"projection_state_dict": 3}, "no projection_state_dict"),
        (lambda c: changed_state(c, **{"net.0.weight": torch.zeros(3)}), "no projection_state_dict"),
        (lambda c: changed_state(c, **{"net.6.weight": torch.zeros(3, 3, 1)}), "no projection_state_dict"),
        (lambda c: changed_state(c, **{"net.3.weight": torch.zeros(3, 3)}), "do not fit"),
        (lambda c: changed_state(c, **{"net.3.weight": "text"}), "do not fit"),
        (lambda c: changed_state(c, **{"net.0.bias": torch.full((32,), math.nan)}), "not finite in net.0.bias"),
        (lambda c: c | {"heartopt": 3}, "does not fit its tensors"),
        (lambda c: c | {"heartopt": c["heartopt"] | {"latent_dim": 256}}, "does not fit its tensors"),
        (lambda c: c | {"heartopt": c["heartopt"] | {"bridge": "median"}}, "bridge 'median'"),
        (lambda c: c | {"heartopt": c["heartopt"] | {"latents": [1]}}, "not known to this version"),
        (lambda c: c | {"heartopt": c["heartopt"] | {"fingerprint": 1}}, "fingerprint is no text"),
    ],
)
def test_what_is_no_checkpoint_of_a_projection_is_named(change, message, tmp_path):
    torch.save(change(own_checkpoint(tmp_path / "p.pt")), tmp_path / "p.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        read_report_checkpoint(tmp_path / "p.pt")
    assert "\n" not in str(caught.value)


def test_damaged_files_are_one_line(tmp_path):
    path = tmp_path / "p.pt"
    save(EncoderProjection(128, 64, 32), path)
    whole = path.read_bytes()
    for damaged in (b"", b"\x80", b"PK\x03\x04", b"\x00" * 100, whole[: len(whole) // 2], whole[1000:], b"text\n" * 9):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="loads safely") as caught:
            read_report_checkpoint(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no such file"):
        read_report_checkpoint(tmp_path / "none.pt")
