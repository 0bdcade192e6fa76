"""Crops as the session keeps them: JPEG, 96x96 px."""

from __future__ import annotations

import numpy as np

from heme_edge.crops import CROP_PX, Image
from heme_edge.errors import PhotoError
from heme_edge.photos import decode_photo
from heme_edge.session.schema import SessionError

QUALITY = 95
"""With colour at full resolution: at 90 and half of it 5 % of the names change, so 2 %."""


def encode_crop(crop: Image) -> bytes:
    """A crop RGB uint8 ``[96, 96, 3]`` as JPEG; about 0.2 ms."""
    import cv2

    bgr = np.ascontiguousarray(crop[..., ::-1])
    how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    how += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return bytes(cv2.imencode(".jpg", bgr, how)[1])


def decode_crop(data: bytes) -> Image:
    """The crop of a JPEG, RGB uint8 ``[96, 96, 3]``.

    Raises:
        SessionError: it is none.
    """
    try:
        image = decode_photo(data)
    except PhotoError as error:
        raise SessionError(f"A crop of the session {error.message}.") from error
    if image.shape != (CROP_PX, CROP_PX, 3):
        raise SessionError(f"A crop of the session is not {CROP_PX}x{CROP_PX} px.")
    return image
