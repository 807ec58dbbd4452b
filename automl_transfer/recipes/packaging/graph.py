"""A model as one small program: batch norms folded, constants computed, nothing of its making left.

Works on the graph that `torch.export` gives, so that it does the same for every architecture.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.nn.utils.fusion import fuse_conv_bn_weights

from automl_transfer.domain.normalisation import NormalisationFacts, constants
from automl_transfer.models.heads import TargetModel
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.together import Ensemble


class Inference(nn.Module):
    """A target model for inference only; the argument stays as it is.

    Every parameter has become a constant: `parameters()` is empty and nothing asks for a gradient.

    Args:
        model: What was trained.
        normalisation: With it, forward takes uint8 pixels (N, H, W, C) and gives (N, classes)
            probabilities; without, it takes normalised float32 (N, C, H, W) and gives logits.
        temperature: What logits are divided by to become probabilities.
    """

    def __init__(
        self,
        model: TargetModel | Ensemble,
        normalisation: NormalisationFacts | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self._temperature = temperature
        self.model = _without_parameters(copy.deepcopy(model))
        self._normalise: Normaliser | None = None
        if normalisation is not None:
            mean, std = constants(normalisation) or (None, None)
            self._normalise = Normaliser(mean, std)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images, or probabilities of pixels."""
        logits: Tensor
        if self._normalise is None:
            logits = self.model(images)
            return logits
        return torch.softmax(self.model(self._normalise(images)) / self._temperature, dim=1)


def _without_parameters(model: TargetModel | Ensemble) -> TargetModel | Ensemble:
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                del module._parameters[name]
                module.register_buffer(name, parameter.detach())
    return model


_CONVOLUTIONS = (
    torch.ops.aten.conv1d.default,
    torch.ops.aten.conv2d.default,
    torch.ops.aten.conv2d.padding,
)
_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom", "from_node")
"""What a node remembers of the code that it comes from: paths of this machine among it."""


def program(model: Inference, example: Tensor) -> ExportedProgram:
    """The model as an exported program for any number of images.

    Args:
        model: What is exported.
        example: A batch of at least two images of the right shape; only its shape and type count.
    """
    with torch.no_grad():
        graph = _export(model, example).module()
        assert isinstance(graph, fx.GraphModule)
        _fold_batch_norms(graph)
        _drop_identities(graph)
        _fold_constants(graph)
        graph.graph.eliminate_dead_code()
        graph.delete_all_unused_submodules()
        _drop_unused(graph)
        graph.recompile()
        exported = _export(graph, example)
    _forget(exported)
    return exported


def _export(model: torch.nn.Module, example: Tensor) -> ExportedProgram:
    return torch.export.export(model, (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)


def _fold_batch_norms(graph: fx.GraphModule) -> None:
    """Fold y = gamma (W x + b - mean) / sqrt(var + eps) + beta into W and b, where nothing else reads W x."""
    for node in list(graph.graph.nodes):
        if node.target is not torch.ops.aten.batch_norm.default:
            continue
        before = node.args[0]
        arguments = _named(node)
        if before.target not in _CONVOLUTIONS or len(before.users) > 1 or arguments["training"]:
            continue
        convolution = _named(before)
        weight, bias = _value(graph, convolution["weight"]), _value(graph, convolution["bias"])
        mean, variance = _value(graph, arguments["running_mean"]), _value(graph, arguments["running_var"])
        gamma, beta = _value(graph, arguments["weight"]), _value(graph, arguments["bias"])
        if weight is None or mean is None or variance is None:
            continue
        new_weight, new_bias = fuse_conv_bn_weights(
            weight.double(), _double(bias), mean.double(), variance.double(), arguments["eps"],
            _double(gamma), _double(beta),
        )  # fmt: skip
        with graph.graph.inserting_before(before):
            folded = dict(zip(_names(before), before.args, strict=False)) | dict(before.kwargs)
            folded["weight"] = _constant(graph, new_weight.detach().to(weight.dtype))
            folded["bias"] = _constant(graph, new_bias.detach().to(weight.dtype))
        before.args, before.kwargs = (folded.pop("input"), folded.pop("weight"), folded.pop("bias")), folded
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)


def _double(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.double()


def _drop_identities(graph: fx.GraphModule) -> None:
    """Dropout does nothing in evaluation mode."""
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.dropout.default and not _named(node)["train"]:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)


def _fold_constants(graph: fx.GraphModule) -> None:
    """Compute once what depends on no image, such as position embeddings resized to the resolution."""
    for node in list(graph.graph.nodes):
        inputs = node.all_input_nodes
        pure = isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.is_mutable
        if node.op != "call_function" or not pure or not inputs or not node.users:
            continue
        if any(each.op != "get_attr" for each in inputs):
            continue
        values = {each: _value(graph, each) for each in inputs}
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda each, v=values: v[each])  # type: ignore[misc]
        result = node.target(*args, **kwargs)
        if not isinstance(result, Tensor):
            continue
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(_constant(graph, result.contiguous().clone()))
        graph.graph.erase_node(node)


def _drop_unused(graph: fx.GraphModule) -> None:
    """Delete tensors that no node reads any more."""
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for module_name, module in graph.named_modules():
        for name in list(module._buffers):
            if (f"{module_name}.{name}" if module_name else name) not in used:
                del module._buffers[name]


def _forget(exported: ExportedProgram) -> None:
    """Drop what nodes remember of the code they come from, and the example images."""
    for module in exported.graph_module.modules():
        if isinstance(module, fx.GraphModule):
            for node in module.graph.nodes:
                for key in _TRACES:
                    node.meta.pop(key, None)
    exported._example_inputs = None


def _names(node: fx.Node) -> list[str]:
    assert isinstance(node.target, torch._ops.OpOverload)
    return [argument.name for argument in node.target._schema.arguments]


def _named(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by name, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    found = {argument.name: argument.default_value for argument in node.target._schema.arguments}
    return found | dict(zip(_names(node), node.args, strict=False)) | dict(node.kwargs)


def _value(graph: fx.GraphModule, node: Any) -> Tensor | None:
    """The tensor that a node stands for; None where it is no constant."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    found: Any = graph
    for part in str(node.target).split("."):
        found = getattr(found, part)
    return found if isinstance(found, Tensor) else None


def _constant(graph: fx.GraphModule, value: Tensor) -> fx.Node:
    # Several passes through one network share its weights.
    for name, known in graph._buffers.items():
        if known is None or not name.startswith("constant_"):
            continue
        if (known.shape, known.dtype) == (value.shape, value.dtype) and torch.equal(known, value):
            shared: fx.Node = graph.graph.get_attr(name)
            return shared
    number = sum(name.startswith("constant_") for name in graph._buffers)
    graph.register_buffer(f"constant_{number}", value)
    node: fx.Node = graph.graph.get_attr(f"constant_{number}")
    return node
