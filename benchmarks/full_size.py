"""A HeartCodec of the release's size with random weights: does it load and run, how long, how much memory?

    python benchmarks/full_size.py FOLDER [--dtype bfloat16]

Writes the checkpoint (3.3 GB, bfloat16) to FOLDER if it is not there, loads it as a user loads the release, and
runs one estimator forward on 2 s of latents.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from heartopt import HeartCodec, HeartCodecConfig

SECONDS = 2


def write_checkpoint(folder: Path) -> None:
    """Random weights, tensor by tensor, so that the model never stands in memory twice."""
    config = HeartCodecConfig()
    with torch.device("meta"):
        shapes = {name: tensor for name, tensor in HeartCodec(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, tensor in shapes.items():
        if not tensor.is_floating_point():
            tensors[name] = torch.ones(tensor.shape, dtype=tensor.dtype)
            continue
        fan_in = max(1, tensor[0].numel() if tensor.ndim > 1 else tensor.numel())
        tensors[name] = torch.randn(tensor.shape, generator=generator).div_(fan_in**0.5).bfloat16()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    if not (arguments.folder / "model.safetensors").is_file():
        write_checkpoint(arguments.folder)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    codec = HeartCodec.from_pretrained(arguments.folder, dtype=getattr(torch, arguments.dtype))
    loaded = time.perf_counter()
    frames = SECONDS * codec.config.sample_rate // codec.hop
    inputs = torch.randn(1, frames, codec.config.in_channels, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        velocity = codec.flow_matching.estimator(inputs, timestep=torch.tensor([0.5]))
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "tensors": len(codec.state_dict()),
                "values": sum(tensor.numel() for tensor in codec.state_dict().values()),
                "dtype": arguments.dtype,
                "load_seconds": round(loaded - began, 2),
                "forward_seconds": round(done - loaded, 2),
                "latent_frames": frames,
                "output_finite": bool(velocity.isfinite().all()),
                "memory_before_gb": round(base / 1e6, 2),
                "peak_memory_gb": round(peak / 1e6, 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
