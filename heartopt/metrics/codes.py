"""Statistics of codes, level by level and over whole columns. They describe; quality is what the decoded audio says.

`K` levels (codebooks), `F` code frames at 12.5 Hz, `V` codes per codebook; a column is one frame's `K` codes.
Random codes use every entry, never repeat and fill their bitrate: no number here is a sign of quality by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heartopt.errors import TokenError
from heartopt.tokens import FRAME_RATE

NGRAMS = (2, 3)  # lengths of the n-grams that novelty is counted over


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics of one file's or a whole corpus' codes; tuples hold one number a level, `K` of them.

    Attributes:
        frames: code frames counted, over all files.
        codebook_size: V.
        used: distinct codes.
        entropy: of the codes' frequencies, in bits: 0 to log2 min(frames, V). The plug-in estimate: too low where
            frames are few beside V, and blind to the order of the codes and to other levels.
        repetition: share of frames whose code equals the one before, 0 to 1; NaN where no frame has one before.
        column_repetition: the same for whole columns.
        novelty: share of the n-grams that are distinct, n = 2: distinct n-grams over all n-grams, 0 (excluded) to 1.
            1 says that no n codes follow each other twice; NaN where no file has n frames. It falls as a corpus
            grows, so only corpora of one size compare.
        column_novelty: the same for whole columns, one number for each n of `NGRAMS`.
    """

    frames: int
    codebook_size: int
    used: tuple[int, ...]
    entropy: tuple[float, ...]
    repetition: tuple[float, ...]
    column_repetition: float
    novelty: tuple[float, ...]
    column_novelty: tuple[float, ...]

    @property
    def usage(self) -> tuple[float, ...]:
        """Distinct codes over the codebook's size, 0 to 1."""
        return tuple(used / self.codebook_size for used in self.used)

    @property
    def dead(self) -> tuple[int, ...]:
        """Codes of the codebook that never occur."""
        return tuple(self.codebook_size - used for used in self.used)

    @property
    def perplexity(self) -> tuple[float, ...]:
        """2 to the entropy: as many equally frequent codes would have it; 1 to min(frames, V)."""
        return tuple(2.0**bits for bits in self.entropy)

    @property
    def bitrate(self) -> float:
        """Effective bitrate in bits/s: the levels' entropies, summed, times 12.5 frames a second.

        What an ideal entropy coder needs that knows each level's frequencies, but neither order nor other levels.
        """
        return math.fsum(self.entropy) * FRAME_RATE

    @property
    def nominal_kbps(self) -> float:
        """Bitrate of the codes as they are stored, in kbit/s: K · log2 V · 12.5 / 1000."""
        return len(self.used) * math.log2(self.codebook_size) * FRAME_RATE / 1000

    def metrics(self) -> dict[str, float]:
        """By name: in all, then `usage_1`, `usage_2`, … level by level.

        In all, `usage`, `perplexity` and `entropy` are means over levels, `dead` is the sum, `bitrate` is bits/s,
        `repetition`, `novelty` (n = 2) and `trigram_novelty` (n = 3) are those of whole columns.
        """
        levels = len(self.used)
        result = {
            "usage": math.fsum(self.usage) / levels,
            "perplexity": math.fsum(self.perplexity) / levels,
            "entropy": math.fsum(self.entropy) / levels,
            "dead": float(sum(self.dead)),
            "bitrate": self.bitrate,
            "repetition": self.column_repetition,
            "novelty": self.column_novelty[0],
            "trigram_novelty": self.column_novelty[1],
        }
        for name in ("usage", "perplexity", "entropy", "dead", "repetition", "novelty"):
            values = getattr(self, name)
            result |= {f"{name}_{level}": float(value) for level, value in enumerate(values, 1)}
        return result


def code_statistics(codes: Tensor | Sequence[Tensor], codebook_size: int) -> CodeStatistics:
    """Statistics of one file's codes `[K, F]`, or of several files' together.

    Frequencies are those of the whole corpus; repetition and n-grams do not cross from one file into the next.

    Args:
        codes: integers in [0, codebook_size), `[K, F]` with F > 0; or files of one K, any F each.
        codebook_size: V.

    Raises:
        TokenError: anything else.
    """
    files = [codes] if isinstance(codes, Tensor) else list(codes)
    if not files:
        raise TokenError("there are no codes to count: give at least one file's, [K, F]")
    for file in files:
        _check(file, codebook_size)
        if file.shape[0] != files[0].shape[0]:
            raise TokenError(f"codes of one corpus must have one K, not {files[0].shape[0]} and {file.shape[0]} levels")
    joined = torch.cat([file.cpu().long() for file in files], dim=1)
    owner = torch.repeat_interleave(torch.tensor([file.shape[1] for file in files]))  # each frame's file
    counts = torch.zeros(joined.shape[0], codebook_size, dtype=torch.float64)
    counts.scatter_add_(1, joined, torch.ones_like(joined, dtype=torch.float64))
    entropy = torch.special.entr(counts / joined.shape[1]).sum(dim=1) / math.log(2)
    columns = torch.unique(joined, dim=1, return_inverse=True)[1]  # [F]: equal columns, equal numbers
    return CodeStatistics(
        frames=joined.shape[1],
        codebook_size=codebook_size,
        used=tuple(int(n) for n in (counts > 0).sum(dim=1)),
        entropy=tuple(float(bits) for bits in entropy),
        repetition=tuple(_repetition(level, owner) for level in joined),
        column_repetition=_repetition(columns, owner),
        novelty=tuple(_novelty(level, owner, NGRAMS[0]) for level in joined),
        column_novelty=tuple(_novelty(columns, owner, n) for n in NGRAMS),
    )


def agreement(a: Tensor, b: Tensor) -> tuple[float, ...]:
    """The share of equal codes, level by level, of two token files of one song: `[K, F]` twice -> K numbers, 0 to 1.

    1 is the same codes. Codes that differ may sound alike, and from the second level on they quantize what is left
    by the level before: agreement falls from level to level, and says nothing of quality.

    Raises:
        TokenError: codes of two shapes, or no codes at all. Files of different lengths are refused, because
            nothing says where they begin together.
    """
    for codes in (a, b):
        _check(codes, None)
    if a.shape != b.shape:
        raise TokenError(
            f"codes to compare must have one shape, not {list(a.shape)} and {list(b.shape)}; "
            "cut both to the frames that they share"
        )
    return tuple(float(share) for share in (a.cpu() == b.cpu()).double().mean(dim=1))


def _check(codes: Tensor, codebook_size: int | None) -> None:
    if codes.dim() != 2 or codes.numel() == 0 or codes.is_floating_point() or codes.is_complex():
        given = f"{list(codes.shape)} {codes.dtype}"
        raise TokenError(f"codes must be integers [K, F] with at least one frame, got {given}")
    low, high = int(codes.min()), int(codes.max())
    if codebook_size is not None and (low < 0 or high >= codebook_size):
        raise TokenError(f"codes from {low} to {high} are outside 0..{codebook_size - 1}")


def _repetition(symbols: Tensor, owner: Tensor) -> float:
    """The share of `symbols [F]` that equal the one before in the same file; NaN if none has one before."""
    inside = owner[1:] == owner[:-1]
    return float((symbols[1:] == symbols[:-1])[inside].double().mean()) if inside.any() else math.nan


def _novelty(symbols: Tensor, owner: Tensor, n: int) -> float:
    """Distinct n-grams over all n-grams of `symbols [F]` within files; NaN where there are none."""
    if len(symbols) < n:
        return math.nan
    grams, base = symbols, int(symbols.max()) + 1
    for place in range(1, n):  # numbered anew each time, so that the product stays in 64 bits
        grams = torch.unique(grams[:-1] * base + symbols[place:], return_inverse=True)[1]
    inside = owner[n - 1 :] == owner[: len(owner) - n + 1]
    total = int(inside.sum())
    return grams[inside].unique().numel() / total if total else math.nan
