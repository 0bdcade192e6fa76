"""The Triton model repository, read back by Triton's own schema and held against the ONNX files."""

import importlib.util
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import text_format

from heme_edge import RESEARCH_USE_ONLY
from heme_edge.bundle import load_bundle
from heme_export.cli import main
from heme_export.triton import VARIANTS, write_repository
from tests.conftest import LOSS, with_accepted

TYPES = {onnx.TensorProto.UINT8: "TYPE_UINT8", onnx.TensorProto.FLOAT: "TYPE_FP32"}


@pytest.fixture(scope="module")
def schema() -> Any:
    """Triton's ``model_config.proto``, without the gRPC client it comes with."""
    file = metadata.distribution("tritonclient").locate_file(
        "tritonclient/grpc/model_config_pb2.py"
    )
    spec = importlib.util.spec_from_file_location("model_config_pb2", str(file))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def full_bundle(bundle_copy: Path) -> Path:
    """The default bundle with a file for every variant; what is in them does not matter here."""
    path = bundle_copy / "bundle.json"
    content = json.loads(path.read_text())
    held = {(m["precision"], m["scheme"]) for m in content["models"]}
    fp32 = next(m for m in content["models"] if m["precision"] == "fp32")
    for precision, scheme in sorted({(v.precision, v.scheme) for v in VARIANTS} - held):
        file = f"{precision}-{scheme}.onnx"
        shutil.copyfile(bundle_copy / "fp32.onnx", bundle_copy / file)
        content["models"].append(fp32 | {"file": file, "precision": precision, "scheme": scheme})
    path.write_text(json.dumps(content))
    return bundle_copy


def read(folder: Path, schema: Any) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), schema.ModelConfig())


def per_crop(value: Any) -> list[int]:
    """The shape of an ONNX input or output without its batch."""
    return [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_every_field_agrees_with_the_file(
    full_bundle: Path, tmp_path: Path, schema: Any, variant: Any
) -> None:
    bundle = load_bundle(full_bundle)
    names = write_repository(bundle, tmp_path / "repo")
    assert names == sorted(f"heme_edge_{v.name}" for v in VARIANTS)
    folder = tmp_path / "repo" / f"heme_edge_{variant.name}"
    model, config = onnx.load(folder / "1" / "model.onnx").graph, read(folder, schema)
    expected = bundle.model(variant.precision, (variant.scheme,)).file
    assert (folder / "1" / "model.onnx").read_bytes() == (full_bundle / expected).read_bytes()
    assert (config.name, config.backend) == (folder.name, "onnxruntime")
    described = {
        v.name: (TYPES[v.type.tensor_type.elem_type], per_crop(v))
        for v in (*model.input, *model.output)
    }
    said = {
        v.name: (
            schema.DataType.Name(v.data_type),
            list(v.reshape.shape if v.HasField("reshape") else v.dims),
        )
        for v in (*config.input, *config.output)
    }
    assert said == described
    assert list(config.output[1].dims) == [1]  # Triton allows no empty shape before reshaping
    labels = (folder / config.output[0].label_filename).read_text().split()
    assert tuple(labels) == bundle.codes
    assert list(config.dynamic_batching.preferred_batch_size) == [16, 64]
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.max_batch_size == 64
    assert schema.ModelInstanceGroup.Kind.Name(config.instance_group[0].kind) == variant.kind


def test_tensorrt_is_an_accelerator_with_the_right_precision(
    full_bundle: Path, tmp_path: Path, schema: Any
) -> None:
    write_repository(load_bundle(full_bundle), tmp_path / "repo")
    for variant in VARIANTS:
        config = read(tmp_path / "repo" / f"heme_edge_{variant.name}", schema)
        used = config.optimization.execution_accelerators.gpu_execution_accelerator
        assert [a.name for a in used] == (["tensorrt"] if variant.mode else [])
        if variant.mode:
            options = used[0].parameters
            assert options["precision_mode"] == variant.precision.upper()
            assert options["trt_profile_min_shapes"] == "crops:1x96x96x3"
            assert options["trt_profile_max_shapes"] == f"crops:{config.max_batch_size}x96x96x3"


def test_what_the_bundle_lacks_is_left_out(bundle_copy: Path, tmp_path: Path) -> None:
    content = json.loads((bundle_copy / "bundle.json").read_text())
    content["models"] = [m for m in content["models"] if m["precision"] == "fp32"]
    (bundle_copy / "bundle.json").write_text(json.dumps(content))
    names = write_repository(load_bundle(bundle_copy), tmp_path / "repo")
    assert names == ["heme_edge_fp32", "heme_edge_fp32_tensorrt"]


def test_accepted_losses_are_told(bundle_copy: Path, tmp_path: Path, schema: Any) -> None:
    repo, said = tmp_path / "repo", f"Accepted at export: {LOSS}"
    bundle = with_accepted(bundle_copy, [LOSS])
    done = CliRunner().invoke(main, ["triton", str(bundle), "-o", str(repo)])
    assert done.output.endswith(f"{RESEARCH_USE_ONLY}\n{said}\n"), done.output
    for folder in repo.iterdir():
        lines = (folder / "config.pbtxt").read_text().splitlines()
        assert lines[:2] == [f"# {RESEARCH_USE_ONLY}", f"# {said}"]
        assert read(folder, schema).name == folder.name


def test_the_command_replaces_its_own_and_nothing_else(bundle_copy: Path, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    arguments = ["triton", str(bundle_copy), "-o", str(repo)]
    for _ in range(2):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
    assert "Research use only" in done.output
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []
    (repo / "theirs").mkdir()
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "holds something else" in done.output
    assert (repo / "theirs").is_dir()
    assert (repo / "heme_edge_fp32" / "config.pbtxt").is_file()


def test_a_file_is_not_replaced(bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "repo").write_text("mine")
    done = CliRunner().invoke(main, ["triton", str(bundle_copy), "-o", str(tmp_path / "repo")])
    assert done.exit_code == 2
    assert (tmp_path / "repo").read_text() == "mine"
