"""Which layers of a TensorRT 8.x network are kept in single precision."""

from enum import Enum, auto
from types import SimpleNamespace

from heme_edge.backends.tensorrt.weak import keep_ends_single

KINDS = "CAST CONSTANT SHAPE QUANTIZE DEQUANTIZE ELEMENTWISE CONVOLUTION MATRIX_MULTIPLY SOFTMAX"
Kind = Enum("Kind", KINDS)  # type: ignore[misc]  # mypy wants the names in place


class Dtype(Enum):
    FLOAT = auto()
    INT32 = auto()


class Layer:
    """As ``trt.ILayer`` as far as it is touched."""

    def __init__(self, kind: Kind, dtype: Dtype = Dtype.FLOAT) -> None:
        self.type, self.num_outputs, self.precision = kind, 1, None
        self.set_types: list[Dtype] = []
        self._dtype = dtype

    def get_output(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(dtype=self._dtype)

    def set_output_type(self, index: int, dtype: Dtype) -> None:
        self.set_types.append(dtype)


def test_ends_are_kept_and_nothing_else() -> None:
    kinds = [Kind.CAST, Kind.ELEMENTWISE, Kind.CONVOLUTION, Kind.CONVOLUTION, Kind.ELEMENTWISE,
             Kind.MATRIX_MULTIPLY, Kind.SOFTMAX]  # fmt: skip
    layers = [*map(Layer, kinds), Layer(Kind.ELEMENTWISE, Dtype.INT32)]
    trt = SimpleNamespace(
        BuilderFlag=SimpleNamespace(OBEY_PRECISION_CONSTRAINTS="obey"),
        LayerType=Kind,
        DataType=Dtype,
    )
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    flags: list[str] = []
    keep_ends_single(trt, network, SimpleNamespace(set_flag=flags.append))
    assert flags == ["obey"]
    kept = [i for i, layer in enumerate(layers) if layer.precision == Dtype.FLOAT]
    assert kept == [1, 2, 5, 6]
    assert [layer.set_types for layer in layers if layer.precision] == [[Dtype.FLOAT]] * 4
