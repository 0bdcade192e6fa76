"""Reading photos: any common format to RGB uint8, with a sentence for each that cannot be."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heme_edge.crops import Image
from heme_edge.errors import PhotoError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
MAX_PIXELS = 250_000_000
# OpenCV reads this once, when it is loaded; it is never imported before this module.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

_JPEG = b"\xff\xd8"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END_OF_IMAGE = 0xD9
ORIENTATION_TAG = 0x0112


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts ``field 9`` before ``field 10``."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(p), "") if p.isdigit() else (0, 0, p.lower()) for p in parts]


def find_photos(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[Path]:
    """Every file below ``folder`` with such a suffix, in natural order; hidden ones left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=natural_key)


def byte_hash(data: bytes) -> str:
    """First 16 hexadecimal digits of the SHA-256 of an encoded picture."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_photo(path: Path, correct: Callable[[Image], Image] | None = None) -> Image:
    """A photo as RGB uint8 ``[H, W, 3]``, turned as its EXIF orientation says.

    Args:
        path: the file.
        correct: done to the picture as the sensor recorded it, before it is turned: what is
            wrong with a lens or a sensor does not turn with the camera.

    16-bit images are scaled to 8 bits by their own range of use (12-bit cameras store in
    16), grey becomes three equal channels, transparency is laid over white.

    Raises:
        PhotoError: it cannot be opened, is no picture, is cut short, or is over 250 megapixels.
    """
    data = _data(path)
    if correct is None:
        return decode_photo(data)
    return turn(correct(_decode(data, turned=False)), exif_orientation(data))


def read_as_recorded(path: Path) -> Image:
    """The same, but not turned: the picture as the sensor recorded it.

    Raises:
        PhotoError: as ``read_photo``.
    """
    return _decode(_data(path), turned=False)


def _data(path: Path) -> bytes:
    try:
        return _read_bytes(path)
    except OSError as error:
        raise PhotoError(f"cannot be opened ({error.strerror or error})") from error


def _read_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - a seam that tests of unreadable files patch
        return file.read()


def decode_photo(data: bytes) -> Image:
    """The same for the bytes of a file.

    Raises:
        PhotoError: as ``read_photo``.
    """
    return _decode(data, turned=True)


def turn(image: Image, orientation: int) -> Image:
    """A picture turned as an EXIF orientation (1 to 8) says."""
    if orientation > 4:
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG file, 1 to 8; 1 where it does not tell.

    Exif 2.32, 4.5 and 4.6: TIFF's first directory in segment APP1, tag 0x0112.
    """
    start = data.find(b"Exif\0\0", 0, 1 << 16) + 6
    if not data.startswith(_JPEG) or start < 6:
        return 1
    order = ">" if data[start : start + 2] == b"MM" else "<"
    try:
        at = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, entry)
            if tag == ORIENTATION_TAG:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _decode(data: bytes, *, turned: bool) -> Image:
    import cv2

    if not data:
        raise PhotoError("is empty")
    if data.startswith(_JPEG) and not _jpeg_is_whole(data):
        raise PhotoError("is cut short")
    # IMREAD_COLOR turns by EXIF and takes CMYK; the other formats need their own depth kept.
    flag = cv2.IMREAD_COLOR if data.startswith(_JPEG) else cv2.IMREAD_UNCHANGED
    if not turned and data.startswith(_JPEG):
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise PhotoError("is damaged, or larger than 250 megapixels") from error
    if image is None:
        raise PhotoError("is not a picture this program can read")
    return _to_rgb8(np.asarray(image))


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether the marker walk reaches the end-of-image marker of the main picture.

    Decoders fill what is missing with grey and say nothing. A search for FF D9 alone would
    find the one of an embedded thumbnail.
    """
    at = 2
    while at + 4 <= len(data):
        marker = _MARKER.search(data, at)
        if marker is None:
            return False
        code = data[marker.end() - 1]
        if code == _END_OF_IMAGE:
            return True
        at = marker.end()
        at += int.from_bytes(data[at : at + 2], "big")
    return False


def _to_rgb8(image: NDArray[Any]) -> Image:
    """Any depth and channel count of OpenCV's (B, G, R, alpha) to RGB uint8."""
    import cv2

    image = _to_8_bits(image)
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    if image.shape[2] == 4:
        return _over_white(image)
    if image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    raise PhotoError(f"has {image.shape[2]} channels; 1, 3 or 4 are read")


def _to_8_bits(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        highest = int(image.max())
        bits = 8 if highest < 256 else next(b for b in (10, 12, 14, 16) if highest < 1 << b)
        scale = 255.0 / ((1 << bits) - 1)
    elif image.dtype in (np.float32, np.float64) and float(image.max()) <= 1.0:
        scale = 255.0
    else:
        raise PhotoError(f"has pixels of type {image.dtype}; 8 and 16 bits are read")
    return np.asarray(np.clip(np.rint(image.astype(np.float32) * scale), 0, 255), np.uint8)


def _over_white(bgra: NDArray[np.uint8]) -> Image:
    alpha = bgra[:, :, 3:].astype(np.uint16)
    colour = bgra[:, :, 2::-1].astype(np.uint16)
    return np.asarray((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
