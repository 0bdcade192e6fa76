"""Crops of one role as class folders, which the simulated stage takes (``--sim-crops``).

    python -m benchmarks.class_folders --role test --each 60 OUT

Takes so many of each class at random, by ``--seed``, or all there are. Tours that are scored are of
role ``test``: neither the detector nor the classifier has seen those cells.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from heme_train.data import open_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("HEME_DATA"))
    parser.add_argument("--role", default="test")
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.data is None:
        parser.error("--data or $HEME_DATA is needed: a folder with crops/")
    crops = open_crops(Path(asked.data) / "crops")
    rng = np.random.default_rng(asked.seed)
    mine = [crop for crop in crops.crops if crop.role == asked.role]
    for code in sorted({crop.code for crop in mine}):
        of_class = [crop for crop in mine if crop.code == code]
        folder = asked.out / code
        folder.mkdir(parents=True, exist_ok=True)
        for at in rng.permutation(len(of_class))[: asked.each]:
            crop = of_class[at]
            (folder / crop.file.replace("/", "_")).write_bytes(crops.data(crop))
        print(f"{code}: {len(list(folder.iterdir()))} of {len(of_class)}")


if __name__ == "__main__":
    main()
