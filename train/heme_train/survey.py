"""One look at every picture before training: can it be read, how large is it, what is it like."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import HemeError
from heme_train.augment import centre
from heme_train.data import Crop, CropSet, byte_hash

HASH_SIDE = 16
TEXTURE_SIDE = 64


@dataclass(frozen=True)
class Survey:
    """What was seen of the readable pictures of a crop set; N of them.

    Attributes:
        crops: their rows.
        byte_hashes: ``byte_hash`` of each.
        pixel_hashes: SHA-256 of the decoded middle 96x96 of each: the same for a picture that
            was only saved again.
        sizes: height and width in px, ``[N, 2]``.
        hashes: perceptual hash, float32 ``[N, 16, 16]``, see ``perceptual_hash``.
        textures: int8 ``[N, 64, 64]``, see ``texture``.
        unreadable: ``(row, reason)`` of the others.
    """

    crops: tuple[Crop, ...]
    byte_hashes: tuple[str, ...]
    pixel_hashes: tuple[bytes, ...]
    sizes: NDArray[np.int32]
    hashes: NDArray[np.float32]
    textures: NDArray[np.int8]
    unreadable: tuple[tuple[Crop, str], ...]


def survey(crops: CropSet) -> Survey:
    """Reads every picture once (20,000 crops: some ten seconds; 5 KB each while it is kept)."""
    count = len(crops.crops)
    hashes = np.zeros((count, HASH_SIDE, HASH_SIDE), np.float32)
    textures = np.zeros((count, TEXTURE_SIDE, TEXTURE_SIDE), np.int8)
    seen: list[tuple[Crop, str, bytes, tuple[int, ...]]] = []
    unreadable: list[tuple[Crop, str]] = []
    for crop in crops.crops:
        try:
            data = crops.data(crop)
            image = _decoded(data)
        except (HemeError, OSError) as error:
            unreadable.append((crop, _reason(error)))
            continue
        middle = np.ascontiguousarray(centre(image))
        grey = _grey(middle)
        hashes[len(seen)], textures[len(seen)] = perceptual_hash(grey), texture(grey)
        pixels = hashlib.sha256(middle.data).digest()
        seen.append((crop, byte_hash(data), pixels, image.shape[:2]))
    columns = tuple(zip(*seen, strict=True)) or ((), (), (), ())
    sizes = np.array(columns[3], np.int32).reshape(-1, 2)
    return Survey(
        columns[0], columns[1], columns[2], sizes,
        hashes[: len(seen)], textures[: len(seen)], tuple(unreadable),
    )  # fmt: skip


def _decoded(data: bytes) -> Image:
    from heme_edge.photos import decode_photo

    return decode_photo(data)


def _reason(error: Exception) -> str:
    """Why a picture cannot be read, to stand behind its name."""
    from heme_edge.errors import PhotoError

    if isinstance(error, PhotoError):
        return error.message
    return "is in no shard and no file" if isinstance(error, HemeError) else "cannot be opened"


def _grey(image: Image) -> NDArray[np.float32]:
    import cv2

    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def perceptual_hash(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 16x16 lowest cosine frequencies of a crop, without the mean, times their frequency.

    After C. Zauner, *Implementation and benchmarking of perceptual image hash functions* (2010),
    but the coefficients themselves in place of their signs: a shift of 2 px of 96 turns up to
    19 of 63 signs, while the coefficients still correlate by 0.87. The weight takes away what
    all crops share, a dark round thing in the middle of a bright field.

    Args:
        grey: float32 ``[96, 96]``.
    """
    import cv2

    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.dct(small)[:HASH_SIDE, :HASH_SIDE] * _FREQUENCY, np.float32)


_FREQUENCY: NDArray[np.float32] = np.hypot(*np.mgrid[:HASH_SIDE, :HASH_SIDE]).astype(np.float32)


def texture(grey: NDArray[np.float32]) -> NDArray[np.int8]:
    """What is left of a crop without its shading and contrast: structures of 1.5 to 4 px.

    Two different cells of one shape hardly correlate in it, two copies of one do.

    Args:
        grey: float32 ``[96, 96]``.

    Returns:
        int8 ``[64, 64]``; 40 is one local standard deviation.
    """
    import cv2

    fine = cv2.GaussianBlur(grey, (0, 0), 1.5)
    fine = fine - cv2.GaussianBlur(fine, (0, 0), 4.0)
    spread = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 4.0) + 1.0)  # 1 grey level of noise
    side = (TEXTURE_SIDE, TEXTURE_SIDE)
    small: NDArray[Any] = cv2.resize(fine / spread, side, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(small * 40.0), -127, 127).astype(np.int8)


def readable(crops: CropSet, seen: Survey, skip: bool) -> CropSet:
    """The crops that can be read, and their ``byte_hashes``.

    Raises:
        HemeError: some cannot and ``skip`` is False, or none can.
    """
    bad = seen.unreadable
    if bad and not (skip and seen.crops):
        listed = "; ".join(f"'{c.file}' {reason}" for c, reason in bad[:3])
        more = "; …" if len(bad) > 3 else ""
        raise HemeError(
            f"{len(bad)} of {len(crops.crops)} pictures cannot be read: {listed}{more}.",
            "Mend them, or leave them out with --skip-unreadable" if seen.crops else "Check --data",
        )
    hashes = dict(zip((c.file for c in seen.crops), seen.byte_hashes, strict=True))
    skipped = crops.skipped + tuple((c.file, reason) for c, reason in bad)
    return replace(crops, crops=list(seen.crops), skipped=skipped, byte_hashes=hashes)


def check_sizes(seen: Survey, mixed_ok: bool, say: Callable[[str], None]) -> None:
    """Tells of sizes that differ within one source.

    Crops of 96 px and more may: only their middle is learned from. Sources may differ.

    Raises:
        HemeError: sizes differ, some are smaller than a crop, and ``mixed_ok`` is False.
    """
    for source in sorted({c.source for c in seen.crops}):
        at = [i for i, c in enumerate(seen.crops) if c.source == source]
        kinds, first = np.unique(seen.sizes[at], axis=0, return_index=True)
        if len(kinds) > 1 and kinds.min() < CROP_PX and not mixed_ok:
            examples = [(seen.sizes[at[k]], seen.crops[at[k]].file) for k in first[[0, -1]]]
            raise HemeError(
                f"Crops of source '{source}' have several sizes ({_listed(examples)}).",
                "Resample them to 0.25 µm/px and one size, or pass --mixed-sizes",
            )
        if kinds.min() < CROP_PX:
            say(f"Source '{source}' has crops smaller than {CROP_PX} px: mirrored outwards.")
        elif len(kinds) > 1:
            say(f"Source '{source}' has {len(kinds)} sizes: the middle {CROP_PX} px are used.")


def _listed(examples: Sequence[tuple[NDArray[np.int32], str]]) -> str:
    return ", ".join(f"'{file}' is {size[1]}x{size[0]} px" for size, file in examples)
