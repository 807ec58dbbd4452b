"""Layer groups of timm's families."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from automl_transfer.models.grouping import (
    MOST_GROUPS,
    Group,
    Grouping,
    Layout,
    children,
    chunks,
    extend,
    group,
    led_by,
    residual,
    sequence,
    spaced,
    staged,
)


def efficientnet(model: Any) -> Grouping:
    """EfficientNet, MobileNetV2, MnasNet and their Lite and TF variants: g1 stem, stages, last conv."""
    return Grouping(
        (
            group("stem", ("conv_stem", model.conv_stem), ("bn1", model.bn1)),
            *_inverted_residuals(model.blocks),
            group("last convolution", ("conv_head", model.conv_head), ("bn2", model.bn2)),
        ),
        sequence(("global_pool", model.global_pool), ("classifier", model.classifier)),
    )


def mobilenetv3(model: Any) -> Grouping:
    """MobileNetV3 and V4, whose last convolution comes after the pooling: a group of flat features."""
    return Grouping(
        (
            group("stem", ("conv_stem", model.conv_stem), ("bn1", model.bn1)),
            *_inverted_residuals(model.blocks),
            group(
                "pooling, last convolution",
                ("global_pool", model.global_pool),
                ("conv_head", model.conv_head),
                ("norm_head", model.norm_head),
                ("act2", model.act2),
                ("flatten", nn.Flatten(1)),
            ),
        ),
        sequence(("classifier", model.classifier)),
    )


def resnet(model: Any) -> Grouping:
    """ResNet, ResNeXt, SE variants: stem, then each of the four stages in two."""
    return Grouping(residual(model, "act1"), sequence(("global_pool", model.global_pool), ("fc", model.fc)))


def regnet(model: Any) -> Grouping:
    """RegNet X, Y, Z: stem, then each of the four stages in two."""
    parts = staged(children(stage) for stage in (model.s1, model.s2, model.s3, model.s4))
    parts = extend(parts, ("final_conv", model.final_conv))
    return Grouping((group("stem", ("stem", model.stem)), *parts), sequence(("head", model.head)))


def convnext(model: Any) -> Grouping:
    """ConvNeXt V1 and V2. The norm after the pooling is a group, so that its features are kept."""
    stages = [led_by(("downsample", stage.downsample), children(stage.blocks)) for stage in model.stages]
    parts = [group("stem", ("stem", model.stem)), *staged(stages)]
    parts = extend(parts, ("norm_pre", model.norm_pre))
    head = model.head
    if not hasattr(head, "flatten") or not hasattr(head, "norm"):
        return Grouping(tuple(parts), sequence(("head", head)))
    pre_logits = [("pre_logits", head.pre_logits)] if hasattr(head, "pre_logits") else []
    pooled = group(
        "pooling, last norm",
        ("global_pool", head.global_pool),
        ("norm", head.norm),
        ("flatten", head.flatten),
        *pre_logits,
    )
    return Grouping((*parts, pooled), sequence(("drop", head.drop), ("fc", head.fc)))


def vgg(model: Any) -> Grouping:
    """VGG: convolutions up to each max pooling, then the fully connected layers."""
    return Grouping(
        (*_between_pools(model.features), group("fully connected", ("pre_logits", model.pre_logits))),
        sequence(("head", model.head)),
    )


def densenet(model: Any) -> Grouping:
    """DenseNet: stem, then dense blocks and transitions."""
    layers = children(model.features)
    first = next(at for at, (name, _) in enumerate(layers) if name.startswith("denseblock"))
    parts = [group("stem", *layers[:first])]
    for name, layer in layers[first:]:
        if name.startswith("norm"):
            parts = extend(parts, (name, layer))
        else:
            parts.append(group(spaced(name), (name, layer)))
    return Grouping(
        tuple(parts),
        sequence(("global_pool", model.global_pool), ("classifier", model.classifier)),
    )


def swin(model: Any) -> Grouping:
    """Swin. It computes in (B, H, W, C); groups take and give (B, C, H, W)."""
    stages = [led_by(("downsample", stage.downsample), children(stage.blocks)) for stage in model.layers]
    parts = extend(staged(stages), ("norm", model.norm))
    inside = [
        group(part.note, ("nhwc", Layout(0, 2, 3, 1)), *children(part.module), ("nchw", Layout(0, 3, 1, 2)))
        for part in parts
    ]
    stem = group("patch embedding", ("patch_embed", model.patch_embed), ("nchw", Layout(0, 3, 1, 2)))
    return Grouping((stem, *inside), sequence(("nhwc", Layout(0, 2, 3, 1)), ("head", model.head)))


class TokenEmbedding(nn.Module):
    """Patch embedding, position and class tokens of a timm vision transformer: (B, N, C)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.patch_embed = model.patch_embed
        self.pos_drop = model.pos_drop
        self.patch_drop = model.patch_drop
        self.norm_pre = model.norm_pre
        for name in ("cls_token", "reg_token", "pos_embed", "dist_token"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        self.num_prefix_tokens = model.num_prefix_tokens
        self.no_embed_class = model.no_embed_class
        self.dynamic_img_size = model.dynamic_img_size
        self._embed = type(model)._pos_embed

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) pixels to (B, prefix + patches, C) tokens."""
        tokens = self._embed(self, self.patch_embed(x))
        embedded: Tensor = self.norm_pre(self.patch_drop(tokens))
        return embedded


class TokenPooling(nn.Module):
    """The pooling of a timm vision transformer, for those with a norm or attention after it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.attn_pool = model.attn_pool
        self.fc_norm = model.fc_norm
        self.kind = model.global_pool
        self.num_prefix_tokens = model.num_prefix_tokens
        self.pool_include_prefix = getattr(model, "pool_include_prefix", False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) tokens to (B, C) features."""
        from timm.models.vision_transformer import global_pool_nlc

        if self.attn_pool is not None:
            pooled = self.attn_pool(tokens)
        else:
            pooled = global_pool_nlc(
                tokens,
                pool_type=self.kind,
                num_prefix_tokens=self.num_prefix_tokens,
                reduce_include_prefix=self.pool_include_prefix,
            )
        features: Tensor = self.fc_norm(pooled)
        return features


class DistilledClassifiers(nn.Module):
    """DeiT's two classifiers on the class and distillation tokens, averaged."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.head = model.head
        self.head_dist = model.head_dist

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) tokens to (B, classes) logits."""
        logits: Tensor = (self.head(tokens[:, 0]) + self.head_dist(tokens[:, 1])) / 2
        return logits


def vision_transformer(model: Any) -> Grouping:
    """ViT and DeiT: embedding, then encoder blocks in at most eight groups, the last with the norm."""
    pooling_has_weights = model.attn_pool is not None or next(model.fc_norm.parameters(), None) is not None
    blocks = chunks("encoder", children(model.blocks), MOST_GROUPS - 1 - pooling_has_weights)
    parts = [group("patch and position embedding", ("embedding", TokenEmbedding(model)))]
    parts += extend(blocks, ("norm", model.norm))
    if hasattr(model, "head_dist"):
        tail: nn.Module = DistilledClassifiers(model)
    elif pooling_has_weights:
        parts.append(group("pooling, last norm", ("pooling", TokenPooling(model))))
        tail = sequence(("head", model.head))
    else:
        tail = sequence(("pooling", TokenPooling(model)), ("head", model.head))
    return Grouping(tuple(parts), tail, prefix_tokens=int(model.num_prefix_tokens))


def _inverted_residuals(blocks: nn.Module) -> list[Group]:
    stages = children(blocks)
    most = MOST_GROUPS - 2
    if len(stages) > most:
        return chunks("stages", stages, most, unit="stage")
    return [group(f"stage {number}", stage) for number, stage in enumerate(stages, 1)]


def _between_pools(features: nn.Module) -> list[Group]:
    parts: list[Group] = []
    pending: list[tuple[str, nn.Module]] = []
    for name, layer in children(features):
        pending.append((name, layer))
        if isinstance(layer, nn.MaxPool2d):
            parts.append(group(f"convolutions {len(parts) + 1}", *pending))
            pending = []
    return extend(parts, *pending) if pending else parts
