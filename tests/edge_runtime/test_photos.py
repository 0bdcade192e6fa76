from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from heme_edge.errors import PhotoError
from heme_edge.photos import decode_photo, find_photos, read_photo
from tests.conftest import draw_cell, save

PICTURE = draw_cell(120)


def encode(format_: str, mode: str = "RGB", **kwargs: object) -> bytes:
    buffer = BytesIO()
    Pillow.fromarray(PICTURE).convert(mode).save(buffer, format_, **kwargs)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "off"),
    [
        (encode("PNG"), 0),
        (encode("BMP"), 0),
        (encode("TIFF"), 0),
        (encode("JPEG", quality=95), 12),
        (encode("JPEG", progressive=True, quality=95), 12),
        (encode("WEBP", lossless=True), 0),
    ],
)
def test_formats_keep_their_colours(data: bytes, off: int) -> None:
    image = decode_photo(data)
    assert image.shape == PICTURE.shape
    assert np.median(np.abs(image.astype(int) - PICTURE)) <= off


def test_grey_png_has_three_equal_channels() -> None:
    image = decode_photo(encode("PNG", "L"))
    assert image.shape == PICTURE.shape
    assert np.array_equal(image[..., 0], image[..., 2])


def test_transparent_png_lies_on_white() -> None:
    rgba = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    buffer = BytesIO()
    Pillow.fromarray(rgba).save(buffer, "PNG")
    assert decode_photo(buffer.getvalue()).min() == 255


def test_cmyk_jpeg() -> None:
    image = decode_photo(encode("JPEG", "CMYK", quality=95))
    assert image.shape == PICTURE.shape
    assert np.abs(image[60, 60].astype(int) - PICTURE[60, 60]).max() < 60


@pytest.mark.parametrize("bits", [12, 16])
def test_16_bit_tiff_is_scaled_by_the_bits_it_uses(tmp_path: Path, bits: int) -> None:
    deep = (PICTURE[..., ::-1].astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    path = tmp_path / "deep.tif"
    assert cv2.imwrite(str(path), deep)
    assert np.abs(read_photo(path).astype(int) - PICTURE).max() <= 1


def test_exif_orientation_is_followed() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 3
    left_dark = PICTURE.copy()
    left_dark[:, :40] = 0
    buffer = BytesIO()
    Pillow.fromarray(left_dark).save(buffer, "JPEG", exif=exif)
    assert decode_photo(buffer.getvalue())[:, -20:].mean() < 20


def test_truncated_jpeg_is_said_also_with_a_thumbnail() -> None:
    data = encode("JPEG")
    thumbnail = b"\xff\xe1" + (2 + len(data)).to_bytes(2, "big") + data
    for whole in (data, data[:2] + thumbnail + data[2:]):
        assert decode_photo(whole).shape == PICTURE.shape
        with pytest.raises(PhotoError, match="cut short"):
            decode_photo(whole[:-200])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    assert decode_photo(encode("JPEG") + b"\0" * 9000).shape == PICTURE.shape


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"this is a text file named .jpg", "not a picture"),
        (encode("PNG")[:300], "not a picture|damaged|cut short"),
        (b"\xff\xd8\xff", "cut short"),
    ],
)
def test_bad_files_are_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(PhotoError, match=says):
        decode_photo(data)


def test_no_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a patched open, since the superuser may read everything."""
    path = save(tmp_path / "a.png", PICTURE)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("heme_edge.photos._read_bytes", refuse)
    with pytest.raises(PhotoError, match="Permission denied"):
        read_photo(path)


def test_100_megapixels_are_read() -> None:
    buffer = BytesIO()
    Pillow.new("L", (10_000, 10_000), 200).save(buffer, "PNG", compress_level=1)
    assert decode_photo(buffer.getvalue()).shape == (10_000, 10_000, 3)


def test_photos_are_found_in_natural_order(tmp_path: Path) -> None:
    for name in ("f10.PNG", "f9.png", "b/f1.png", ".hidden/x.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    names = [str(p.relative_to(tmp_path)) for p in find_photos(tmp_path)]
    assert names == ["b/f1.png", "f9.png", "f10.PNG"]
