"""Parameters, multiply-adds and receptive field of a network, layer by layer.

The receptive field follows Araujo et al. 2019 (distill.pub/2019/computing-receptive-fields): a window of k positions
that are `stride` pixels apart adds (k - 1) * stride pixels. Where branches join (a residual sum), the largest counts.
"""

import copy
import operator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]
_WHOLE = ""  # name of the network itself in `named_modules`


@dataclass(frozen=True)
class LayerSummary:
    """One leaf layer. A layer that is called more than once has one row with the sum over its calls."""

    name: str
    kind: str
    """Name of its class, such as "Conv2d"."""
    output_shape: Shape
    """Shape of the output without the batch dimension."""
    parameters: int
    multiply_adds: int
    receptive_field: int | None


@dataclass(frozen=True)
class ModelSummary:
    """The summary of a network for one input shape."""

    parameters: int
    multiply_adds: int
    """Multiply-adds per image in the forward pass of convolutions and linear layers: one per weight or bias and output
    position. Projections inside torch's attention are included, products of queries, keys and values are not."""
    receptive_field: int | None
    """Side length in pixels of the region that influences a logit, not limited by the image. Norms count as pointwise,
    although the statistics of some span the map. None if the network cannot be traced or has an unknown layer."""
    layers: tuple[LayerSummary, ...]
    """The layers in order of execution."""


def summarize(model: nn.Module, input_shape: tuple[int, int, int]) -> ModelSummary:
    """Summarize a network for images of `input_shape` (C, H, W).

    A copy on the CPU processes one black image; weights, buffers, training mode and random state of the network are
    unchanged. The meta device is not used, because importing sympy and torch._dynamo there takes 4 seconds.

    Raises:
        RuntimeError: raised by torch if the network does not accept images of this shape.
    """
    shown = copy.deepcopy(model).to("cpu", torch.float32).eval()
    image = torch.zeros(1, *input_shape)
    counter, fused = _Counter(), torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused call hides the linear layers
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            with counter:
                layers = _layers(shown, image)
            fields = _receptive_fields(shown, image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return ModelSummary(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        multiply_adds=counter.multiply_adds,
        receptive_field=fields.get(_WHOLE),
        layers=tuple(replace(layer, receptive_field=fields.get(layer.name)) for layer in layers),
    )


def format_summary(summary: ModelSummary) -> str:
    """A plain text table with a row per layer and the totals. "field" is the receptive field in pixels."""
    header = ("layer", "kind", "output", "parameters", "multiply-adds", "field")
    rows = [
        (layer.name, layer.kind, "x".join(map(str, layer.output_shape)), *_numbers(layer)) for layer in summary.layers
    ]
    table = [header, *rows, ("total", "", "", *_numbers(summary))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(f"{cell:{align}{width}}" for cell, align, width in zip(row, "<<<>>>", widths, strict=True))
        for row in table
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _numbers(summary: ModelSummary | LayerSummary) -> tuple[str, str, str]:
    field = "-" if summary.receptive_field is None else str(summary.receptive_field)
    return f"{summary.parameters:,}", f"{summary.multiply_adds:,}", field


def _layers(model: nn.Module, image: torch.Tensor) -> list[LayerSummary]:
    """A row per leaf module in order of execution, without receptive fields."""
    rows: dict[str, LayerSummary] = {}

    def note(name: str, module: nn.Module, _: object, output: torch.Tensor) -> None:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        before = rows[name].multiply_adds if name in rows else 0
        multiply_adds = before + _multiply_adds(module, parameters, output.shape)
        shape = tuple(output.shape[1:])
        rows[name] = LayerSummary(name, type(module).__name__, shape, parameters, multiply_adds, receptive_field=None)

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(partial(note, name)) for name, module in leaves]
    model(image)
    for handle in handles:
        handle.remove()
    return list(rows.values())


def _multiply_adds(module: nn.Module, parameters: int, output: torch.Size) -> int:
    match module:
        case nn.Conv2d():
            return parameters * output[-2:].numel()  # grouped convolutions too: each weight is used once per position
        case nn.Linear():
            return parameters * output[1:-1].numel()
        case _:
            return 0


class _Counter(TorchFunctionMode):
    """Counts the multiply-adds of all convolutions and linear maps, including calls by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.multiply_adds = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in (nn.functional.linear, nn.functional.conv2d):
            named = dict(zip(("input", "weight", "bias"), args, strict=False)) | (kwargs or {})
            positions = output[0, 0].numel() if func is nn.functional.conv2d else output.numel() // output.shape[-1]
            self.multiply_adds += positions * _numbers_in(named["weight"], named.get("bias"))
        elif func is nn.functional.multi_head_attention_forward:  # query, key, value, embed_dim, heads, in_proj, …
            self.multiply_adds += args[0].numel() // args[3] * _numbers_in(args[5], args[6], args[11], args[12])
        return output


def _numbers_in(*tensors: torch.Tensor | None) -> int:
    return sum(tensor.numel() for tensor in tensors if tensor is not None)


@dataclass(frozen=True)
class _Field:
    size: int
    """Side length in pixels of the region that influences one position of a map."""
    stride: int
    """Distance in pixels between neighbouring positions."""

    def through(self, window: int, stride: int) -> "_Field":
        return _Field(self.size + (window - 1) * self.stride, self.stride * stride)


_POINTWISE = (
    nn.ReLU | nn.GELU | nn.SiLU | nn.Identity | nn.Dropout | nn.Dropout2d
    | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d
)  # fmt: skip
_POINTWISE_CALLS = {
    torch.relu, nn.functional.relu, operator.add, operator.iadd, torch.add, torch.cat, operator.mul, torch.mul,
    "add", "mul", "relu",
}  # fmt: skip
_FLATTEN_CALLS = {torch.flatten, "flatten"}


class _Tracer(fx.Tracer):
    """Treats layers of known types, and subclasses of them, as leaves, and traces into all others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _POINTWISE | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Runs a traced network and stores each result's shape in its node (torch's ShapeProp would import sympy)."""

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        n.meta["shape"] = tuple(getattr(result, "shape", ()))
        return result


def _receptive_fields(model: nn.Module, image: torch.Tensor) -> dict[str, int | None]:
    """Module name → receptive field in pixels, that of the logits under _WHOLE; empty if tracing fails."""
    try:
        traced = fx.GraphModule(model, _Tracer().trace(model))
        _Shapes(traced).run(image)
    except Exception:  # model code run on proxies may raise anything
        return {}
    fields: dict[fx.Node, _Field | None] = {}
    named: dict[str, int | None] = {}
    for node in traced.graph.nodes:
        field = fields[node] = _Field(1, 1) if node.op == "placeholder" else _field_after(node, traced, fields)
        if node.op in ("call_module", "output"):
            named[_WHOLE if node.op == "output" else str(node.target)] = field.size if field else None
    return named


def _field_after(node: fx.Node, traced: fx.GraphModule, fields: dict[fx.Node, _Field | None]) -> _Field | None:
    """The field of a node from those of its inputs; None if an input's field or the operation is unknown."""
    inputs = node.all_input_nodes
    arms = [field for field in map(fields.get, inputs) if field]
    if not arms or len(arms) < len(inputs) or len({arm.stride for arm in arms}) > 1:
        return None
    field = max(arms, key=lambda arm: arm.size)
    if node.op == "output":
        return field if node.args == (inputs[0],) else None
    before, after = inputs[0].meta["shape"], node.meta["shape"]
    operation = traced.get_submodule(str(node.target)) if node.op == "call_module" else node.target
    match operation:
        case nn.Conv2d() | nn.MaxPool2d() | nn.AvgPool2d():
            window, stride = _window(operation)
            return field.through(window, stride) if window and stride else None
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d():
            return field.through(before[-1], before[-1]) if after[-2:] == (1, 1) and before[-1] == before[-2] else None
        case nn.Flatten():
            return _flattened(field, before, after)
        case nn.Linear():
            return field if len(before) == 2 else None
    if operation in _FLATTEN_CALLS:
        return _flattened(field, before, after)
    pointwise = isinstance(operation, _POINTWISE) or operation in _POINTWISE_CALLS
    return field if pointwise and before[2:] == after[2:] else None


def _flattened(field: _Field, before: Shape, after: Shape) -> _Field | None:
    """The field after flattening, which combines all positions of the map."""
    square_map = len(before) == 4 and len(after) == 2 and before[2] == before[3]
    return field.through(before[2], 1) if square_map else None


def _window(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> tuple[int | None, int | None]:
    """Size and stride of a window in positions of the layer's input; None if they differ between the axes."""
    kernel, stride, dilation = (
        _side(value) for value in (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
    )
    return (kernel - 1) * dilation + 1 if kernel and dilation else None, stride


def _side(value: int | tuple[int, ...]) -> int | None:
    sides = {value} if isinstance(value, int) else set(value)
    return sides.pop() if len(sides) == 1 else None
