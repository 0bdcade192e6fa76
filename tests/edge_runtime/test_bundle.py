import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heme_edge.bundle import (
    DEFAULT_BUNDLE,
    MANIFEST,
    BundleInfo,
    load_bundle,
    sha256_of,
)
from heme_edge.bundle_writing import write_bundle
from heme_edge.cells import DEEPHEME_CODES
from heme_edge.errors import BundleError
from tests.conftest import Run, edit_manifest


def test_default_bundle_says_what_it_is() -> None:
    bundle = load_bundle()
    assert len(bundle.codes) == len(set(bundle.codes)) >= 2
    assert {"fp32", "int8"} <= set(bundle.precisions)
    assert {c.code: c.name for c in bundle.info.classes}["E4"] == "eosinophil"
    assert all(sum(c.train_images.values()) for c in bundle.info.classes)
    card = (bundle.path / "MODEL_CARD.md").read_text()
    for code in set(DEEPHEME_CODES) - set(bundle.codes):
        assert f"{code} (" in card, "the card names every class that was never shown"
    for source in ("doi:10.7937/TCIA.AXH3-T579", "doi:10.17632/snkd93bnjr.1", "Research use only"):
        assert source in card


def test_default_bundle_is_under_25_mb_a_file() -> None:
    assert max(p.stat().st_size for p in DEFAULT_BUNDLE.iterdir()) < 25e6


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx", "reference.npz", "MODEL_CARD.md"])
def test_one_changed_byte_is_refused(bundle_copy: Path, name: str) -> None:
    data = bytearray((bundle_copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"'{name}' in the bundle .* is damaged"):
        load_bundle(bundle_copy)


def test_one_changed_byte_is_one_sentence_for_the_user(
    bundle_copy: Path, tmp_path: Path, heme_edge: Run
) -> None:
    data = bytearray((bundle_copy / "int8.onnx").read_bytes())
    data[1000] ^= 1
    (bundle_copy / "int8.onnx").write_bytes(data)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"x")
    done = heme_edge("classify", photos, "--bundle", bundle_copy, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "is damaged or was changed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(format_version=99), "has format 99; this program knows up to 1"),
        (lambda c: c.update(format="zip"), "is not a heme-edge bundle"),
        (lambda c: c.pop("classes"), "is damaged"),
        (lambda c: c.update(head="argmax"), "unknown head 'argmax'"),
        (lambda c: c["classes"][0].update(code="X9"), "unknown class 'X9'"),
        (lambda c: c["crop"].update(px=128), "this program cuts 96 px"),
        (lambda c: c["models"][0].update(precision="fp4"), "unknown kind fp4/float"),
        (lambda c: c["models"][0].update(file="../fp32.onnx"), "a path outside its folder"),
        (lambda c: c["files"].update({"/etc/passwd": "0"}), "a path outside its folder"),
        (lambda c: c["files"].update({"more.bin": "0"}), "lacks 'more.bin'"),
        (lambda c: c["files"].pop("reference.npz"), "has no reference.npz"),
        (lambda c: c.update(models=[]), "holds no model"),
    ],
)
def test_a_bundle_it_cannot_honour(
    bundle_copy: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    edit_manifest(bundle_copy, change)
    with pytest.raises(BundleError, match=says):
        load_bundle(bundle_copy)


def test_missing_folder_and_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        load_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match=r"has no bundle\.json"):
        load_bundle(tmp_path)


def test_rubbish_manifest(bundle_copy: Path) -> None:
    (bundle_copy / MANIFEST).write_bytes(b"\x80\xff")
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(bundle_copy)


def test_a_link_out_of_the_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    outside = shutil.move(bundle_copy / "fp32.onnx", tmp_path / "elsewhere.onnx")
    (bundle_copy / "fp32.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"lacks 'fp32\.onnx'"):
        load_bundle(bundle_copy)


def test_a_pickle_in_the_reference_is_never_loaded(bundle_copy: Path) -> None:
    np.savez(bundle_copy / "reference.npz", crops=np.array([{"a": 1}], object), probabilities=0)
    digest = sha256_of(bundle_copy / "reference.npz")
    edit_manifest(bundle_copy, lambda c: c["files"].update({"reference.npz": digest}))
    with pytest.raises(BundleError, match=r"cannot be used: .*allow_pickle=False"):
        load_bundle(bundle_copy).reference()


def info() -> BundleInfo:
    return load_bundle().info


def copy_files(part: Path) -> None:
    for path in DEFAULT_BUNDLE.iterdir():
        if path.name != MANIFEST:
            shutil.copyfile(path, part / path.name)


def test_written_bundle_is_the_same_bundle(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "b", info(), copy_files)
    assert written.info == info()
    again = write_bundle(tmp_path / "b", info(), copy_files)
    assert again.digest == written.digest
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_failed_write_leaves_the_old_bundle(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", info(), copy_files)

    def fail(part: Path) -> None:
        copy_files(part)
        raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match="No space left on device"):
        write_bundle(tmp_path / "b", info(), fail)
    assert load_bundle(tmp_path / "b").info == info()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is not empty and not a bundle"):
        write_bundle(tmp_path, info(), copy_files)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
