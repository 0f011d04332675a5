"""Converts ONNX graphs to half precision, with float32 islands where it is too coarse or overflows; or to int8.

The precision is in the graph, so TensorRT 10 and 11 and ONNX Runtime compute the same. (ONNX Runtime's own converter
writes the casts of shared weights twice and out of order, which its checker rejects.)
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sartm_core.deploy.onnx_runtime import onnx_runtime

FLOAT32_OPERATORS = frozenset({
    "LayerNormalization", "InstanceNormalization", "GroupNormalization",  # sums of squares overflow
    "Softmax", "ReduceMean", "ReduceSum", "ReduceL2", "Sqrt", "Pow", "ArgMax",
})  # fmt: skip
STATISTICS_OPERATORS = frozenset({"Add", "Clip", "Div", "Mul", "Pow", "ReduceMean", "ReduceSum", "Sub"})
"""What a deviation is written with, from its Sqrt back to the deviations from the mean."""
FILTERS = frozenset({"Conv", "ConvTranspose"})
"""Where what the routing is computed from begins."""
UNTOUCHED_INPUTS = {"Resize": (1, 2)}
"""Inputs that ONNX requires in float32 for any data: Resize's region and scales."""
ATTENTION_IN_FLOAT32 = 1
"""`softmax_precision` of ONNX's Attention operator: onnx.TensorProto.FLOAT."""
LARGEST = float(np.finfo(np.float16).max)


def quantize(path: Path) -> None:
    """Rewrites a graph in place, for CPUs: linear layers with constant weights become int8.

    Activations are quantised dynamically. The experts' projections are gathered at run time and stay float32.

    Args:
        path: of the ONNX file.
    """
    onnx_runtime()  # before its quantisation, which imports it
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = path.with_suffix(".int8")
    logging.disable(logging.WARNING)  # it recommends what the exporter has already done
    try:
        quantize_dynamic(
            path, quantized, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"], per_channel=True
        )
    finally:
        logging.disable(logging.NOTSET)
    quantized.replace(path)


def halve(path: Path, float32_inputs: set[str], float32_outputs: set[str]) -> None:
    """Rewrites a graph in place: weights and most operators become fp16.

    Args:
        path: of the ONNX file.
        float32_inputs: stay float32 (or integers), with everything up to the first learned filters: the normalisation
            of kelvin and metres needs more precision than fp16 has.
        float32_outputs: stay float32; `routing`, where it is among them, with all that it is computed from back to the
            last convolution or the graph's inputs: it compares sums over whole images.
    """
    import onnx

    model = _with_types(onnx.load(path))
    islands = _until_filters(model.graph, float32_inputs) | _statistics(model.graph)
    islands |= _behind(model.graph, {"routing"} & float32_outputs, lambda node: node.op_type not in FILTERS)
    _Converter(model, islands, float32_inputs, float32_outputs).convert()
    onnx.checker.check_model(model, full_check=True)  # infers types: a Conv of float32 and fp16 would be found
    onnx.save(model, path)


def _with_types(model: Any) -> Any:
    """The model with the type of every tensor.

    ONNX infers none behind GroupNormalization of opset 21 and later (onnx 1.23), though it has its input's type.

    Raises:
        RuntimeError: a type stays unknown.
    """
    import onnx

    while True:
        model = onnx.shape_inference.infer_shapes(model)
        graph = model.graph
        types = {
            value.name: value.type.tensor_type.elem_type
            for values in (graph.input, graph.output, graph.value_info)
            for value in values
        } | {weight.name: weight.data_type for weight in graph.initializer}
        untyped = [node for node in graph.node if any(name and name not in types for name in node.output)]
        if not untyped:
            return model
        node = untyped[0]
        if node.op_type != "GroupNormalization":
            raise RuntimeError(f"the type of {node.output[0]}, of {node.op_type}, is unknown")
        graph.value_info.append(onnx.helper.make_tensor_value_info(node.output[0], types[node.input[0]], None))


class _Converter:
    """One pass over the nodes, which ONNX keeps topologically sorted."""

    def __init__(self, model: Any, islands: set[str], float32_inputs: set[str], float32_outputs: set[str]) -> None:
        import onnx

        self._onnx, self._graph = onnx, model.graph
        self._islands, self._float32_inputs, self._float32_outputs = islands, float32_inputs, float32_outputs
        self._float, self._half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self._type = {
            value.name: value.type.tensor_type.elem_type
            for values in (model.graph.input, model.graph.output, model.graph.value_info)
            for value in values
        }
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._type |= {name: weight.data_type for name, weight in self._weights.items()}
        self._floats = {name for name, kind in self._type.items() if kind == self._float}
        self._copies: dict[tuple[str, int], str] = {}  # (tensor, type) -> its name in that type
        self._nodes: list[Any] = []

    def convert(self) -> None:
        for value in self._graph.input:
            if value.name in self._floats and value.name not in self._float32_inputs:
                value.type.tensor_type.elem_type = self._type[value.name] = self._half
        for node in self._graph.node:
            self._convert_node(node)
        for value in self._graph.output:
            self._convert_output(value)
        used = {name for node in self._nodes for name in node.input}
        kept = [weight for name, weight in self._weights.items() if name in used]
        for field, content in (("node", self._nodes), ("initializer", kept), ("value_info", [])):
            self._graph.ClearField(field)
            getattr(self._graph, field).extend(content)

    def _convert_node(self, node: Any) -> None:
        is_float32 = node.op_type in FLOAT32_OPERATORS or node.name in self._islands
        # Constants keep their type.
        is_float32 = is_float32 or node.op_type in ("Constant", "ConstantOfShape")
        wanted = self._float if is_float32 else self._half
        untouched = UNTOUCHED_INPUTS.get(node.op_type, ())
        for index, name in enumerate(node.input):
            if name in self._floats:
                node.input[index] = self._as(name, self._float if index in untouched else wanted)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self._float:
                attribute.i = wanted
        if node.op_type == "Attention" and wanted == self._half:
            node.attribute.append(self._onnx.helper.make_attribute("softmax_precision", ATTENTION_IN_FLOAT32))
        self._type |= {name: wanted for name in node.output if name in self._floats}
        self._nodes.append(node)

    def _as(self, name: str, wanted: int) -> str:
        """The tensor in a type: itself, a converted weight, or the output of a Cast."""
        if self._type[name] == wanted:
            return name
        if (name, wanted) not in self._copies:
            copy = f"{name}_{'fp16' if wanted == self._half else 'fp32'}"
            self._copies[name, wanted] = copy
            self._type[copy] = wanted
            if name in self._weights:
                numbers = np.clip(self._onnx.numpy_helper.to_array(self._weights[name]), -LARGEST, LARGEST)
                self._weights[copy] = self._onnx.numpy_helper.from_array(numbers.astype(np.float16), copy)
            else:
                self._nodes.append(self._onnx.helper.make_node("Cast", [name], [copy], name=f"{copy}_cast", to=wanted))
        return self._copies[name, wanted]

    def _convert_output(self, value: Any) -> None:
        if value.name not in self._floats:
            return
        wanted = self._float if value.name in self._float32_outputs else self._half
        value.type.tensor_type.elem_type = wanted
        if self._type[value.name] == wanted:
            return
        inner = f"{value.name}_inner"
        for node in self._nodes:
            node.input[:] = [inner if name == value.name else name for name in node.input]
            node.output[:] = [inner if name == value.name else name for name in node.output]
        cast = self._onnx.helper.make_node("Cast", [inner], [value.name], name=f"{value.name}_cast", to=wanted)
        self._nodes.append(cast)


def _statistics(graph: Any) -> set[str]:
    """Names of the nodes of normalisations that are written out: what each Sqrt is taken of, and the division by it.

    Squares, their sum and Bessel's factor n / (n - 1), which the exporter multiplies as n first, exceed fp16 long
    before the deviation does.
    """
    roots = {name for node in graph.node if node.op_type == "Sqrt" for name in node.output}
    squares = {name for node in graph.node if node.op_type == "Sqrt" for name in node.input}
    dividing = {node.name for node in graph.node if roots.intersection(node.input)}
    return dividing | _behind(graph, squares, lambda node: node.op_type in STATISTICS_OPERATORS)


def _behind(graph: Any, names: set[str], belongs: Callable[[Any], bool]) -> set[str]:
    """Names of the nodes that tensors are computed by, as far back as all nodes on the way belong."""
    reached, found = set(names), set()
    for node in reversed(graph.node):
        if reached.intersection(node.output) and belongs(node):
            reached.update(node.input)
            found.add(node.name)
    return found


def _until_filters(graph: Any, inputs: set[str]) -> set[str]:
    """Names of the nodes between inputs and the first convolution or product, and of their ancestors."""
    made_by = {output: node for node in graph.node for output in node.output}
    reached, kept = set(inputs), []
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm") and reached.intersection(node.input):
            reached.update(node.output)
            kept.append(node)
    for node in kept:  # grows during iteration: the ancestors of kept nodes
        kept.extend(made_by[name] for name in node.input if name in made_by and made_by[name] not in kept)
    return {node.name for node in kept}
