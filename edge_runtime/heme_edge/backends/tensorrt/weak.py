"""TensorRT 8.x, where precisions are flags of the build and not types in the ONNX file."""

from __future__ import annotations

from typing import Any


def keep_ends_single(trt: Any, network: Any, config: Any) -> None:
    """Keeps what lies before the first layer and after the last in single precision.

    Preprocessing sums more pixels than half precision holds, and the head takes logarithms. The
    first and the last layer stay with them. Called where the flag FP16 is set.
    """
    if not hasattr(trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS"):
        return
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    weighted = [trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY]
    if hasattr(trt.LayerType, "FULLY_CONNECTED"):
        weighted.append(trt.LayerType.FULLY_CONNECTED)
    inside = [i for i, layer in enumerate(layers) if layer.type in weighted]
    for layer in (*layers[: inside[0] + 1], *layers[inside[-1] :]):
        _keep_single(trt, layer)


def _keep_single(trt: Any, layer: Any) -> None:
    """Only of what computes: a constant or a cast has the type it has."""
    given = (trt.LayerType.CAST, trt.LayerType.CONSTANT, trt.LayerType.SHAPE)
    quantised = (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
    outputs = [layer.get_output(i).dtype for i in range(layer.num_outputs)]
    if layer.type in (*given, *quantised) or set(outputs) != {trt.DataType.FLOAT}:
        return
    if hasattr(layer, "precision") and hasattr(layer, "set_output_type"):
        layer.precision = trt.DataType.FLOAT
        for i in range(layer.num_outputs):
            layer.set_output_type(i, trt.DataType.FLOAT)
