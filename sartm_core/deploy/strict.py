"""Half precision to the letter: what a graph in fp16 answers where every result is rounded to fp16, computed on a CPU.

ONNX Runtime has no fp16 kernels for CPUs: it computes such nodes in float32 and drops the casts between them, so what
overflows on a GPU passes there. Casts that are written into the graph stay (ONNX Runtime 1.31).
"""

from pathlib import Path
from typing import Any


def round_every_result(path: Path, out: Path) -> None:
    """Writes a graph with the same inputs and outputs, whose fp16 nodes are computed in float32 and rounded to fp16.

    Sums within one node (a matrix product, a convolution, a mean) are kept in float32, as on tensor cores; only what a
    node answers must be representable. The same as `onnx.reference`, at the speed of ONNX Runtime.

    Args:
        path: of the ONNX file, see `precision.halve`.
        out: file to write.
    """
    import onnx

    model = onnx.load(path)
    _Rounding(onnx.shape_inference.infer_shapes(model, strict_mode=True).graph, model.graph).write()
    onnx.checker.check_model(model)
    onnx.save(model, out)


class _Rounding:
    """One pass over the nodes; the float32 form of a tensor `x` in fp16 is called `x_wide`.

    Args:
        typed: the graph with the types of all tensors.
        graph: the same, to be changed.
    """

    def __init__(self, typed: Any, graph: Any) -> None:
        import onnx

        self._onnx, self._graph = onnx, graph
        self._half, self._float = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
        values = (*typed.input, *typed.output, *typed.value_info)
        self._halves = {value.name for value in values if value.type.tensor_type.elem_type == self._half}
        self._halves |= {weight.name for weight in graph.initializer if weight.data_type == self._half}
        self._nodes: list[Any] = []

    def write(self) -> None:
        for weight in self._graph.initializer:
            if weight.name in self._halves:
                numbers = self._onnx.numpy_helper.to_array(weight).astype("float32")
                weight.CopyFrom(self._onnx.numpy_helper.from_array(numbers, f"{weight.name}_wide"))
        for value in self._graph.input:
            if value.name in self._halves:
                self._cast(value.name, f"{value.name}_wide", self._float)
        for node in self._graph.node:
            self._round(node)
        self._graph.ClearField("node")
        self._graph.node.extend(self._nodes)
        self._graph.ClearField("value_info")

    def _round(self, node: Any) -> None:
        answers = [name for name in node.output if name in self._halves]
        node.input[:] = [f"{name}_wide" if name in self._halves else name for name in node.input]
        if node.op_type == "Cast":  # rounds by itself
            self._nodes.append(node)
        else:
            node.output[:] = [f"{name}_exact" if name in self._halves else name for name in node.output]
            self._nodes.append(node)
            for name in answers:
                self._cast(f"{name}_exact", name, self._half)
        for name in answers:
            self._cast(name, f"{name}_wide", self._float)

    def _cast(self, name: str, to: str, kind: int) -> None:
        self._nodes.append(self._onnx.helper.make_node("Cast", [name], [to], name=f"{to}_cast", to=kind))
