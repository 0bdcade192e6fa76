"""A model repository for NVIDIA's Triton server from a bundle.

Fields are those of Triton's ``model_config.proto``; keys of the TensorRT accelerator are those of
its ONNX Runtime backend. Never run on a Triton server.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from heme_edge.backends.tensorrt.specs import PROFILE
from heme_edge.bundle import Bundle
from heme_edge.errors import HemeError
from heme_edge.notices import notice

PREFIX = "heme_edge_"
ENGINES = "/tmp/heme-edge-engines"
"""Where the server keeps the TensorRT engines it builds."""


class Variant(NamedTuple):
    """A model of the repository; ``mode`` is TensorRT's precision, or empty for ONNX Runtime."""

    name: str
    precision: str
    scheme: str
    kind: str
    mode: str = ""


VARIANTS = (
    Variant("fp32", "fp32", "float", "KIND_AUTO"),
    Variant("fp16", "fp16", "float", "KIND_GPU"),
    Variant("int8", "int8", "u8-asymmetric", "KIND_CPU"),
    Variant("fp32_tensorrt", "fp32", "float", "KIND_GPU", "FP32"),
    Variant("fp16_tensorrt", "fp16", "float", "KIND_GPU", "FP16"),
    Variant("int8_tensorrt", "int8", "s8-symmetric", "KIND_GPU", "INT8"),
)


def write_repository(bundle: Bundle, folder: Path) -> list[str]:
    """Writes ``folder/<model>/config.pbtxt`` and ``folder/<model>/1/model.onnx``, whole or not.

    Returns:
        the models' names: one for each of ``VARIANTS`` whose file the bundle has.

    Raises:
        HemeError: the folder holds something else.
    """
    if folder.exists() and not all(path.name.startswith(PREFIX) for path in folder.glob("*")):
        raise HemeError(f"'{folder}' holds something else.", "Choose another folder")
    files = {(m.precision, m.scheme): bundle.path / m.file for m in bundle.info.models}
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for variant in VARIANTS:
            if (variant.precision, variant.scheme) in files:
                _write(part, variant, files[variant.precision, variant.scheme], bundle)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sorted(path.name for path in folder.iterdir())


def _write(part: Path, variant: Variant, file: Path, bundle: Bundle) -> None:
    folder = part / (PREFIX + variant.name)
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(file, folder / "1" / "model.onnx")
    (folder / "labels.txt").write_text("\n".join(bundle.codes) + "\n")
    (folder / "config.pbtxt").write_text(_config(variant, bundle), encoding="utf-8")


def _config(variant: Variant, bundle: Bundle) -> str:
    """``disagreement`` is one number a crop; Triton wants that as [ 1 ], reshaped to [ ]."""
    classes = len(bundle.codes)
    return f"""{_comment(bundle)}
name: "{PREFIX}{variant.name}"
backend: "onnxruntime"
max_batch_size: {PROFILE[-1]}
input [ {{ name: "crops" data_type: TYPE_UINT8 dims: [ 96, 96, 3 ] }} ]
output [
  {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {classes} ] label_filename: "labels.txt" }},
  {{ name: "disagreement" data_type: TYPE_FP32 dims: [ 1 ] reshape {{ shape: [ ] }} }}
]
instance_group [ {{ kind: {variant.kind} }} ]
dynamic_batching {{ preferred_batch_size: {list(PROFILE[1:])} max_queue_delay_microseconds: 2000 }}
{_tensorrt(variant.mode) if variant.mode else ""}"""


def _comment(bundle: Bundle) -> str:
    return "\n".join(f"# {line}" for line in notice(bundle.accepted_losses).splitlines())


def _tensorrt(mode: str) -> str:
    cache = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": ENGINES}
    names = [f"trt_profile_{which}_shapes" for which in ("min", "opt", "max")]
    shapes = {name: f"crops:{n}x96x96x3" for name, n in zip(names, PROFILE, strict=True)}
    options = {"precision_mode": mode} | cache | shapes
    said = "\n".join(f'    parameters {{ key: "{k}" value: "{v}" }}' for k, v in options.items())
    accelerator = f'gpu_execution_accelerator : [ {{\n    name : "tensorrt"\n{said}\n  }} ]'
    return f"optimization {{ execution_accelerators {{\n  {accelerator}\n}} }}\n"
