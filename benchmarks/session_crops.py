"""How many crops keep their name as JPEG, by quality and resolution of colour.

    python -m benchmarks.session_crops CROPS.tar

Every seventh picture of a shard, its middle 96x96 px as it is, 600 at most, through the default
bundle (INT8, ONNX Runtime) before and after. Prints a table.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from heme_edge.backends import open_backend
from heme_edge.bundle import load_bundle
from heme_edge.crops import CROP_UM_PER_PX, Image, centre_crop
from heme_edge.photos import decode_photo

FULL, HALF = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
HOW = ((90, HALF), (90, FULL), (95, FULL), (98, FULL))
STEP, MOST = 7, 600


def crops_of(shard: Path) -> Iterator[Image]:
    with tarfile.open(shard) as tar:
        files = (member for member in tar if member.isfile())
        for member in islice(files, 0, None, STEP):
            file = tar.extractfile(member)
            if file is not None:
                yield centre_crop(decode_photo(file.read()), CROP_UM_PER_PX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shard", type=Path)
    crops = np.stack(list(islice(crops_of(parser.parse_args().shard), MOST)))
    backend = open_backend(load_bundle(), "onnxruntime", "int8")
    before = backend.infer(crops)[0]
    print(f"{len(crops)} crops\nquality colour  bytes  same name  largest difference")
    for quality, sampling in HOW:
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        data = [cv2.imencode(".jpg", crop[..., ::-1].copy(), flags)[1].tobytes() for crop in crops]
        after = backend.infer(np.stack([decode_photo(one) for one in data]))[0]
        same = float(np.mean(before.argmax(1) == after.argmax(1)))
        size, most = sum(map(len, data)) / len(data), float(np.abs(before - after).max())
        colour = "full" if sampling == FULL else "half"
        print(f"{quality:>7} {colour:>6} {size:>6.0f} {same:>10.3f} {most:>10.2f}")


if __name__ == "__main__":
    main()
