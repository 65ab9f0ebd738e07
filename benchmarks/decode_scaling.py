"""Decoding time and memory against the song's length: twice the length at most 2.1 times the time, memory flat.

    python benchmarks/decode_scaling.py [--minutes 1.5 3 6] [--num-steps 2] [--repeats 3]

Each length is decoded in a process of its own, lengths interleaved over the repeats; medians are printed. Memory is
the peak over that of the imports and the weights. Few Euler steps suffice: both sides of the ratio have the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from itertools import pairwise


def decode(minutes: float, num_steps: int, duration: float) -> tuple[float, float]:
    """Seconds and peak megabytes above the loaded codec, for random codes of that length."""
    import torch

    from heartopt import HeartCodec

    codec = HeartCodec.from_pretrained("mini")
    frames = round(minutes * 60 * 12.5)
    codes = torch.randint(0, codec.config.codebook_size, (1, codec.config.num_quantizers, frames))
    with torch.inference_mode():
        codec.detokenize(codes[..., :10], duration, 1)  # warm up
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        stream = codec.detokenize_stream(codes, duration=duration, num_steps=num_steps)
        samples = sum(block.shape[-1] for block in stream)
        seconds = time.perf_counter() - began
    assert samples == frames * codec.samples_per_code
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.5, 3, 6])
    parser.add_argument("--num-steps", type=int, default=2)
    parser.add_argument("--duration", type=float, default=29.76)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    runs: dict[float, list[tuple[float, float]]] = {minutes: [] for minutes in arguments.minutes}
    for _ in range(arguments.repeats):
        for minutes in arguments.minutes:
            with context.Pool(1) as pool:
                runs[minutes].append(pool.apply(decode, (minutes, arguments.num_steps, arguments.duration)))
    rows = [
        {
            "minutes": minutes,
            "seconds": round(statistics.median(seconds for seconds, _ in timed), 2),
            "peak_mb": round(statistics.median(memory for _, memory in timed), 1),
        }
        for minutes, timed in runs.items()
    ]
    for shorter, longer in pairwise(rows):
        longer["time_ratio"] = round(longer["seconds"] / shorter["seconds"], 3)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
