"""Layer groups of torchvision's families."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl_transfer.errors import SourceError
from automl_transfer.models.grouping import (
    MOST_GROUPS,
    GlobalAverage,
    Group,
    Grouping,
    Layout,
    children,
    chunks,
    extend,
    fully_connected,
    group,
    led_by,
    residual,
    sequence,
    spaced,
    staged,
)

Named = tuple[str, nn.Module]


def resnet(model: Any) -> Grouping:
    """ResNet, ResNeXt, Wide ResNet: stem, then each of the four stages in two."""
    return Grouping(residual(model, "relu"), _pooled_tail(model.avgpool, "fc", model.fc))


def regnet(model: Any) -> Grouping:
    """RegNet X and Y: stem, then each of the four stages in two."""
    stages = [children(stage) for stage in model.trunk_output]
    stem = group("stem", ("stem", model.stem))
    return Grouping((stem, *staged(stages)), _pooled_tail(model.avgpool, "fc", model.fc))


def convnext(model: Any) -> Grouping:
    """ConvNeXt. The norm after the pooling is a group, so that its features are kept."""
    layers = children(model.features)
    stages = _alternating(layers[1:])
    norm, flatten, linear = model.classifier
    pooled = group("pooling, last norm", ("avgpool", model.avgpool), ("norm", norm), ("flatten", flatten))
    return Grouping((group("stem", layers[0]), *staged(stages), pooled), sequence(("linear", linear)))


def efficientnet(model: Any) -> Grouping:
    """EfficientNet V1 and V2: stem, seven stages (six or seven in V2), last convolution."""
    layers = children(model.features)
    stages = [group(f"stage {number}", stage) for number, stage in enumerate(layers[1:-1], 1)]
    return Grouping(
        (group("stem", layers[0]), *stages, group("last convolution", layers[-1])),
        _pooled_tail(model.avgpool, "classifier", model.classifier),
    )


def mobilenet(model: Any) -> Grouping:
    """MobileNetV2 and V3: stem, blocks, last convolution; V3's first linear layer is a group."""
    layers = children(model.features)
    pool = getattr(model, "avgpool", None) or GlobalAverage()
    extra, tail = fully_connected(model.classifier, [("avgpool", pool), ("flatten", nn.Flatten(1))])
    body = chunks("body", layers[1:-1], MOST_GROUPS - 2 - len(extra))
    parts = (group("stem", layers[0]), *body, group("last convolution", layers[-1]), *extra)
    return Grouping(parts, tail)


def mnasnet(model: Any) -> Grouping:
    """MNASNet: stem, six stages, last convolution."""
    layers = children(model.layers)
    stages = [group(f"stage {number}", stage) for number, stage in enumerate(layers[8:14], 1)]
    return Grouping(
        (group("stem", *layers[:8]), *stages, group("last convolution", *layers[14:])),
        _pooled_tail(GlobalAverage(), "classifier", model.classifier),
    )


def vgg(model: Any) -> Grouping:
    """VGG and AlexNet: convolutions up to each max pooling, then fully connected layers as groups."""
    parts: list[Group] = []
    pending: list[Named] = []
    layers = children(model.features)
    for name, layer in layers:
        starts = isinstance(layer, nn.Conv2d) and pending and len(layers) < 15  # AlexNet: each convolution
        if starts or (pending and isinstance(pending[-1][1], nn.MaxPool2d)):
            parts.append(group(f"convolutions {len(parts) + 1}", *pending))
            pending = []
        pending.append((name, layer))
    parts.append(group(f"convolutions {len(parts) + 1}", *pending))
    extra, tail = fully_connected(model.classifier, [("avgpool", model.avgpool), ("flatten", nn.Flatten(1))])
    return Grouping((*parts, *extra), tail)


def densenet(model: Any) -> Grouping:
    """DenseNet: stem, then dense blocks and transitions."""
    layers = children(model.features)
    first = next(at for at, (name, _) in enumerate(layers) if name.startswith("denseblock"))
    parts = [group("stem", *layers[:first])]
    for name, layer in layers[first:]:
        if name.startswith("norm"):
            parts = extend(parts, (name, layer), ("relu", nn.ReLU()))
        else:
            parts.append(group(spaced(name), (name, layer)))
    return Grouping(tuple(parts), _pooled_tail(GlobalAverage(), "classifier", model.classifier))


def squeezenet(model: Any) -> Grouping:
    """SqueezeNet: stem, then fire modules; its classifier is a convolution before the pooling."""
    layers = children(model.features)
    parts: list[Group] = [group("stem", *layers[:3])]
    fires: list[list[Named]] = []
    for name, layer in layers[3:]:
        if isinstance(layer, nn.MaxPool2d):
            fires[-1].append((name, layer))
        else:
            fires.append([(name, layer)])
    parts += [group(f"fire module {number}", *fire) for number, fire in enumerate(fires, 1)]
    return Grouping(tuple(parts), sequence(("classifier", model.classifier), ("flatten", nn.Flatten(1))))


def shufflenet(model: Any) -> Grouping:
    """ShuffleNetV2: stem, three stages in two, last convolution."""
    stages = [children(stage) for stage in (model.stage2, model.stage3, model.stage4)]
    return Grouping(
        (
            group("stem", ("conv1", model.conv1), ("maxpool", model.maxpool)),
            *staged(stages),
            group("last convolution", ("conv5", model.conv5)),
        ),
        _pooled_tail(GlobalAverage(), "fc", model.fc),
    )


def swin(model: Any) -> Grouping:
    """Swin V1 and V2. They compute in (B, H, W, C); groups take and give (B, C, H, W)."""
    layers = children(model.features)
    parts = extend(staged(_alternating(layers[1:])), ("norm", model.norm))
    inside = [
        group(part.note, ("nhwc", Layout(0, 2, 3, 1)), *children(part.module), ("nchw", Layout(0, 3, 1, 2)))
        for part in parts
    ]
    stem = group("patch embedding", layers[0], ("nchw", Layout(0, 3, 1, 2)))
    return Grouping((stem, *inside), _pooled_tail(model.avgpool, "head", model.head))


class TokenEmbedding(nn.Module):
    """Patches, class token and positions; positions are interpolated for other image sizes."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.conv_proj = model.conv_proj
        self.class_token = model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout
        self.side = model.image_size // model.patch_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) pixels to (B, 1 + patches, C) tokens."""
        patches = self.conv_proj(x)
        positions = self.pos_embedding
        if patches.shape[2:] != (self.side, self.side):
            grid = positions[:, 1:].transpose(1, 2).reshape(1, -1, self.side, self.side)
            grid = F.interpolate(grid, patches.shape[2:], mode="bicubic", antialias=True, align_corners=False)
            positions = torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(x), -1, -1), tokens], dim=1)
        embedded: Tensor = self.dropout(tokens + positions)
        return embedded


class ClassToken(nn.Module):
    """(B, N, C) tokens to the (B, C) class token."""

    def forward(self, tokens: Tensor) -> Tensor:
        """The first token."""
        return tokens[:, 0]


def vision_transformer(model: Any) -> Grouping:
    """ViT: embedding, then encoder blocks in at most eight groups, the last with the norm."""
    if len(model.heads) != 1:
        raise SourceError("a vision transformer with hidden layers in its head cannot be cut: take another")
    blocks = extend(
        chunks("encoder", children(model.encoder.layers), MOST_GROUPS - 1), ("ln", model.encoder.ln)
    )
    embedding = group("patch and position embedding", ("embedding", TokenEmbedding(model)))
    tail = sequence(("class_token", ClassToken()), ("heads", model.heads))
    return Grouping((embedding, *blocks), tail, prefix_tokens=1)


def _alternating(layers: list[Named]) -> list[list[Named]]:
    """Stages out of stage, downsampling, stage, downsampling, ..., stage."""
    stages = [children(layers[0][1])]
    for (name, downsample), (_, stage) in zip(layers[1::2], layers[2::2], strict=True):
        stages.append(led_by((f"downsample{name}", downsample), children(stage)))
    return stages


def _pooled_tail(pool: nn.Module, name: str, classifier: nn.Module) -> nn.Module:
    return sequence(("avgpool", pool), ("flatten", nn.Flatten(1)), (name, classifier))
