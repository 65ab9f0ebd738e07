import json
import math
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from heartopt import files
from heartopt.errors import OutputError
from heartopt.optimize.journal import Done, Journal, WindowCurve, WindowReport


def done(frames=7, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Done(
        codes=torch.randint(0, 8192, (8, frames), generator=generator),
        past=torch.randn(2, 4, 256, generator=generator),
        steps=40,
        windows=(WindowReport(3.25, 3.125, True), WindowReport(0.1, 0.2, False)),
        curves=(WindowCurve(("flow", "ode"), (1.5, 3.0)), WindowCurve((), ())),
        notes=("out of memory: going on with a smaller batch", "a “note”"),
    )


def same(one, two):
    plain = [replace(each, codes=None, past=None) for each in (one, two)]
    return plain[0] == plain[1] and torch.equal(one.codes, two.codes) and torch.equal(one.past, two.past)


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    journal = Journal(tmp_path / "a [b].optimize-progress", "key")
    assert journal.read() is None
    journal.write(done())
    found = Journal(journal.path, "key").read()
    assert same(found, done())
    assert found.codes.dtype == torch.int64
    assert list(tmp_path.iterdir()) == [journal.path]


def test_the_last_one_written_counts(tmp_path):
    journal = Journal(tmp_path / "j", "key")
    journal.write(done())
    journal.write(done(9, seed=1))
    assert same(journal.read(), done(9, seed=1))


def test_losses_that_are_not_numbers_are_kept(tmp_path):
    journal = Journal(tmp_path / "j", "key")
    journal.write(replace(done(), curves=(WindowCurve(("flow",) * 3, (math.nan, math.inf, 1.0)),)))
    losses = journal.read().curves[0].loss
    assert math.isnan(losses[0])
    assert losses[1:] == (math.inf, 1.0)


def test_parts_of_larger_tensors_are_kept(tmp_path):
    journal = Journal(tmp_path / "j", "key")
    large = torch.arange(160).reshape(8, 20)
    journal.write(replace(done(), codes=large[:, ::2].T.contiguous().T))
    assert torch.equal(journal.read().codes, large[:, ::2])


def test_with_another_key_it_counts_as_nothing(tmp_path):
    Journal(tmp_path / "j", "key").write(done())
    assert Journal(tmp_path / "j", "other").read() is None
    assert Journal(tmp_path / "j", "key").read() is not None


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "text", "folder", "header", "tensor", "record", "json"])
def test_a_damaged_one_counts_as_nothing(tmp_path, damage):
    path = tmp_path / "j"
    journal = Journal(path, "key")
    journal.write(done())
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as file:
        tensors, record = {name: file.get_tensor(name) for name in ("codes", "past")}, file.metadata()["done"]
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "tensor":
        save_file({"codes": tensors["codes"]}, path, metadata={"done": record})
    elif damage == "header":
        save_file(tensors, path)
    elif damage == "record":
        windows = {"windows": [{"start": 1.0}]}
        save_file(tensors, path, metadata={"done": json.dumps({**json.loads(record), **windows})})
    elif damage == "json":
        save_file(tensors, path, metadata={"done": "[]"})
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-100], "noise": b"\xff" * 5000, "text": b"hello"}[damage])
    assert journal.read() is None
    if damage != "folder":
        journal.write(done())
        assert same(journal.read(), done())


def test_flipped_bits_count_as_damage(tmp_path):
    """A song would go on from codes that are not its own, or that no codebook has."""
    journal = Journal(tmp_path / "j", "key")
    journal.write(done())
    spoiled = bytearray(journal.path.read_bytes())
    spoiled[-300 * 4] ^= 0x40  # in a tensor
    journal.path.write_bytes(spoiled)
    assert journal.read() is None


def test_it_is_removed_at_the_end(tmp_path):
    journal = Journal(tmp_path / "j", "key")
    journal.write(done())
    journal.remove()
    assert not list(tmp_path.iterdir())
    journal.remove()


def test_where_the_disk_is_full_it_is_one_error_and_the_last_one_stays(tmp_path, files_of_at_most):
    journal = Journal(tmp_path / "j", "key")
    journal.write(done())
    with files_of_at_most(200_000), pytest.raises(OutputError, match=re.escape(f"cannot write {journal.path}: ")):
        journal.write(done(20_000))
    assert same(journal.read(), done())
    assert list(tmp_path.iterdir()) == [journal.path]


def test_where_it_cannot_be_flushed_it_is_one_error_and_the_last_one_stays(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j", "key")
    journal.write(done())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(OutputError, match="No space left on device"):
        journal.write(done(9))
    assert same(journal.read(), done())
    assert list(tmp_path.iterdir()) == [journal.path]
