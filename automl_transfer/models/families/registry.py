"""Which function cuts which class of network. A new family is one function and one line here.

Networks of no known family are cut between their top-level children.
"""

from __future__ import annotations

from torch import nn

from automl_transfer.models.families import timm_networks, torchvision_networks
from automl_transfer.models.grouping import MOST_GROUPS, Group, Grouper, Grouping, group, sequence

Named = tuple[str, nn.Module]


def children_in_order(model: nn.Module) -> Grouping:
    """Each top-level child with weights starts a group; the last one with weights is the tail.

    Long sequences of stages are opened first. Whether the guess holds is for the proof to say.
    """
    layers: list[Named] = []
    for name, child in model.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)) and len(child) > 1:
            layers.extend((f"{name}_{key}", block) for key, block in child.named_children())
        else:
            layers.append((name, child))
    weighted = [at for at, (_, layer) in enumerate(layers) if next(layer.parameters(), None) is not None]
    if len(weighted) < 2:
        return Grouping((group("everything", *layers),), nn.Identity())
    last = weighted[-1]
    tail = layers[last:]
    if isinstance(tail[0][1], nn.Linear):
        tail = [("flatten", nn.Flatten(1)), *tail]
    return Grouping(tuple(_few(layers[:last])), sequence(*tail))


def _few(layers: list[Named]) -> list[Group]:
    """Layers without weights join the one before; the rest is cut into at most `MOST_GROUPS`."""
    blocks: list[list[Named]] = []
    for name, layer in layers:
        if blocks and next(layer.parameters(), None) is None:
            blocks[-1].append((name, layer))
        else:
            blocks.append([(name, layer)])
    length = -(-len(blocks) // MOST_GROUPS)
    found = []
    for start in range(0, len(blocks), length):
        part = [layer for block in blocks[start : start + length] for layer in block]
        first, last = part[0][0], part[-1][0]
        found.append(group(first if first == last else f"{first} to {last}", *part))
    return found


FAMILIES: dict[str, Grouper] = {
    "timm.models.convnext.ConvNeXt": timm_networks.convnext,
    "timm.models.densenet.DenseNet": timm_networks.densenet,
    "timm.models.efficientnet.EfficientNet": timm_networks.efficientnet,
    "timm.models.mobilenetv3.MobileNetV3": timm_networks.mobilenetv3,
    "timm.models.regnet.RegNet": timm_networks.regnet,
    "timm.models.resnet.ResNet": timm_networks.resnet,
    "timm.models.swin_transformer.SwinTransformer": timm_networks.swin,
    "timm.models.vgg.VGG": timm_networks.vgg,
    "timm.models.vision_transformer.VisionTransformer": timm_networks.vision_transformer,
    "torchvision.models.alexnet.AlexNet": torchvision_networks.vgg,
    "torchvision.models.convnext.ConvNeXt": torchvision_networks.convnext,
    "torchvision.models.densenet.DenseNet": torchvision_networks.densenet,
    "torchvision.models.efficientnet.EfficientNet": torchvision_networks.efficientnet,
    "torchvision.models.mnasnet.MNASNet": torchvision_networks.mnasnet,
    "torchvision.models.mobilenetv2.MobileNetV2": torchvision_networks.mobilenet,
    "torchvision.models.mobilenetv3.MobileNetV3": torchvision_networks.mobilenet,
    "torchvision.models.regnet.RegNet": torchvision_networks.regnet,
    "torchvision.models.resnet.ResNet": torchvision_networks.resnet,
    "torchvision.models.shufflenetv2.ShuffleNetV2": torchvision_networks.shufflenet,
    "torchvision.models.squeezenet.SqueezeNet": torchvision_networks.squeezenet,
    "torchvision.models.swin_transformer.SwinTransformer": torchvision_networks.swin,
    "torchvision.models.vgg.VGG": torchvision_networks.vgg,
    "torchvision.models.vision_transformer.VisionTransformer": torchvision_networks.vision_transformer,
}
"""By qualified class name, so that no library is imported for a network of another one."""


def cut(model: nn.Module) -> Grouping:
    """The groups of a network; those of its nearest known base class, else its children in order."""
    for ancestor in type(model).__mro__:
        grouper = FAMILIES.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if grouper is not None:
            return grouper(model)
    return children_in_order(model)
