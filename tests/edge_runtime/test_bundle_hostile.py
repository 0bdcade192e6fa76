"""Bundles made to reach outside their folder, to run code, or to break the reader."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heme_edge.bundle import MANIFEST, REFERENCE, load_bundle, sha256_of
from heme_edge.errors import BundleError
from tests.conftest import Run, edit_manifest


def put_reference(bundle: Path, data: bytes) -> None:
    """Another reference.npz, with its right SHA-256 in the manifest."""
    (bundle / REFERENCE).write_bytes(data)
    digest = sha256_of(bundle / REFERENCE)
    edit_manifest(bundle, lambda content: content["files"].update({REFERENCE: digest}))


class _Opens:
    """Pickled, it is a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def pickled_npz(mark: Path) -> bytes:
    data = io.BytesIO()
    crops = np.array([_Opens(mark)], object)
    np.savez(data, allow_pickle=True, crops=crops, probabilities=np.zeros((1, 13), np.float32))
    return data.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def npz(**members: np.ndarray[Any, Any]) -> bytes:
    data = io.BytesIO()
    np.savez(data, **members)
    return data.getvalue()


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def claiming(shape: tuple[int, ...]) -> bytes:
    """An array of a few bytes whose header claims another shape."""
    data = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(data, header)
    return data.getvalue() + b"few"


CROPS = np.zeros((2, 96, 96, 3), np.uint8)


@pytest.mark.parametrize("pack", [pickled_npz, lambda mark: pickle.dumps(_Opens(mark))])
def test_no_code_of_a_reference_is_run(
    bundle_copy: Path, tmp_path: Path, pack: Callable[[Path], bytes]
) -> None:
    mark = tmp_path / "was-run"
    put_reference(bundle_copy, pack(mark))
    with pytest.raises(BundleError, match=r"reference\.npz' cannot be used: "):
        load_bundle(bundle_copy).reference()
    assert not mark.exists()


def test_the_pickle_of_the_test_above_would_run(tmp_path: Path) -> None:
    data = pickled_npz(tmp_path / "was-run")
    with np.load(io.BytesIO(data), allow_pickle=True) as arrays:
        arrays["crops"][0].close()
    assert (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 and no more",
        npz(crops=CROPS, probabilities=np.zeros((2, 13), np.float32))[:2000],
        npy(CROPS),
        npz(crops=CROPS),
        npz(crops=CROPS, probabilities=np.full((2, 13), "0.1")),
        npz(crops=CROPS, probabilities=np.zeros((2, 13), complex)),
        npz(crops=np.uint8(0), probabilities=np.float32(0)),
        npz(crops=CROPS.astype(np.float32), probabilities=np.zeros((2, 13), np.float32)),
        npz(crops=CROPS, probabilities=np.zeros((2, 12), np.float32)),
        zipped(crops=b"no array", probabilities=b"no array"),
        zipped(**{"crops.npy": claiming((1 << 40, 96, 96, 3)), "probabilities.npy": npy(CROPS)}),
        zipped(**{"crops.npy": claiming((-1, 96, 96, 3)), "probabilities.npy": npy(CROPS)}),
    ],
    ids=[
        "empty", "no-zip", "cut-short", "npy", "one-missing", "words", "complex", "numbers",
        "float-crops", "other-classes", "no-arrays", "too-large", "negative",
    ],
)  # fmt: skip
def test_a_reference_that_is_none_is_a_sentence(bundle_copy: Path, data: bytes) -> None:
    put_reference(bundle_copy, data)
    bundle = load_bundle(bundle_copy)
    with pytest.raises(BundleError, match=r"reference\.npz' (cannot be used|does not fit)"):
        bundle.reference()


def test_a_damaged_reference_is_one_sentence_for_the_user(
    bundle_copy: Path, heme_edge: Run
) -> None:
    put_reference(bundle_copy, b"PK\x03\x04 and no more")
    done = heme_edge("bench", bundle_copy)
    assert done.returncode == 2
    assert "reference.npz' cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    ["../fp32.onnx", "../../x.onnx", "/etc/passwd", "sub/fp32.onnx", "./fp32.onnx", "..", ".", "",
     "fp32.onnx/", "..\\fp32.onnx", "C:\\fp32.onnx"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["models", "files"])
def test_a_path_outside_is_refused(bundle_copy: Path, name: str, where: str) -> None:
    """Though the file is there and its SHA-256 is right."""
    outside = bundle_copy.parent / "fp32.onnx"
    for place in (outside, bundle_copy / "sub" / "fp32.onnx"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes((bundle_copy / "fp32.onnx").read_bytes())
    digest = sha256_of(outside)

    def change(content: dict[str, Any]) -> None:
        if where == "files":
            content["files"][name] = digest
        else:
            content["models"][0].update(file=name, sha256=digest)

    edit_manifest(bundle_copy, change)
    with pytest.raises(BundleError, match="a path outside its folder"):
        load_bundle(bundle_copy)


@pytest.mark.parametrize("name", ["fp32.onnx", REFERENCE])
def test_a_link_is_refused_wherever_it_leads(bundle_copy: Path, tmp_path: Path, name: str) -> None:
    data = (bundle_copy / name).read_bytes()
    for target in (tmp_path / "outside", bundle_copy / "inside", tmp_path / "nowhere"):
        if target.name != "nowhere":
            target.write_bytes(data)
        (bundle_copy / name).unlink()
        (bundle_copy / name).symlink_to(target)
        with pytest.raises(BundleError, match=f"lacks '{name}'"):
            load_bundle(bundle_copy)


def test_a_folder_in_place_of_a_model_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "fp32.onnx").unlink()
    (bundle_copy / "fp32.onnx").mkdir()
    with pytest.raises(BundleError, match=r"lacks 'fp32\.onnx'"):
        load_bundle(bundle_copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["models"][0].update(file=5),
        lambda c: c["models"][0].update(file=None),
        lambda c: c["models"][0].update(file="fp32.onnx\0"),
        lambda c: c["models"][0].update(precision=["fp32"]),
        lambda c: c["models"][0].update(tolerance="much"),
        lambda c: c["models"][0].update(run="me"),
        lambda c: c["files"].update({"a\0b": "0"}),
        lambda c: c["classes"][0].update(code=["M1"]),
        lambda c: c.update(files=[["a"]]),
        lambda c: c.update(parity=[1]),
        lambda c: c.update(head=["softmax"]),
    ],
)
def test_values_of_a_wrong_type_are_a_sentence(
    bundle_copy: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_manifest(bundle_copy, change)
    with pytest.raises(BundleError):
        load_bundle(bundle_copy)


def test_a_manifest_nested_without_end_is_a_sentence(bundle_copy: Path) -> None:
    (bundle_copy / MANIFEST).write_text("[" * 1_000_000)
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(bundle_copy)
