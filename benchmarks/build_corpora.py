"""Lay out the embedded codec's training and development songs, as folders of links to the packages' files.

    python benchmarks/build_corpora.py OUTPUT [--music FOLDER]

Makes OUTPUT/train and OUTPUT/dev from `train_files.tsv` of the embedded codec. What is already in OUTPUT stays.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from build_suite import DEFAULT_CACHE, fetch_package

from heartopt.codec.embedded import embedded_folder
from heartopt.errors import AudioError, HeartoptError


def build_corpora(output: Path, *, music: Path | None = None, cache: Path = DEFAULT_CACHE) -> int:
    """Link every song of the list; returns how many. Raises AudioError for one that is not in its package."""
    with (embedded_folder() / "train_files.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    songs: dict[str, dict[str, Path]] = {}
    for row in rows:
        package = row["package"]
        if package not in songs:
            root = music if music is not None else fetch_package(package, cache)
            songs[package] = {path.name: path for path in sorted(root.rglob("*.ogg"))}
        if row["file"] not in songs[package]:
            raise AudioError(f"{package}: holds no {row['file']}")
        link = output / row["split"] / package / row["file"]
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(songs[package][row["file"]].resolve())
    return len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--music", type=Path, help="folder with the unpacked packages; nothing is fetched")
    arguments = parser.parse_args()
    try:
        print(f"{build_corpora(arguments.output, music=arguments.music)} songs in {arguments.output}")
    except HeartoptError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
