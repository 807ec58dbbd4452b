"""Which function cuts which class of network. A new family is one function and one line here."""

from __future__ import annotations

from torch import nn

from automl_transfer.models.families import timm_networks, torchvision_networks
from automl_transfer.models.families.fallback import children_in_order
from automl_transfer.models.grouping import Grouper, Grouping

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
