"""Architectures by name: the one place where timm and torchvision are asked to build a network.

timm and torchvision are imported inside functions, so that listing sources stays quick.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import SourceError
from automl_transfer.importing import import_timm, import_torchvision
from automl_transfer.models.base import check_channels, is_from_plugin, plugin_source

if TYPE_CHECKING:
    from torch import nn

    from automl_transfer.models.network import Backbone

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of RGB pixels in [0, 1], and native resolution in pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: int


def has_timm() -> bool:
    """Whether timm is installed; does not import it."""
    return importlib.util.find_spec("timm") is not None


def split_architecture(architecture: str) -> tuple[str, str]:
    """Split "timm/resnet18" into library and name, both known.

    Raises:
        SourceError: The library or the name is unknown, or timm is not installed.
    """
    library, _, name = architecture.partition("/")
    if library == "timm":
        require_timm(architecture)
        timm = import_timm()
        base = name.partition(".")[0]
        if not base or not timm.is_model(base):
            raise SourceError(unknown("timm architecture", name, timm.list_models(), "timm/"))
    elif library == "torchvision":
        if name not in _torchvision_names():
            raise SourceError(unknown("torchvision architecture", name, _torchvision_names(), "torchvision/"))
    else:
        raise SourceError(
            "an architecture must be timm/NAME or torchvision/NAME, "
            f"got {architecture!r}: for instance timm/resnet18 or torchvision/resnet18"
        )
    return library, name


def create_network(architecture: str, classes: int | None = None) -> nn.Module:
    """The whole network with random weights, for RGB images; no download.

    Transformers are built so that they take images of other sizes than their native one.

    Raises:
        SourceError: The architecture is unknown.
    """
    library, name = split_architecture(architecture)
    if library == "timm":
        return create_timm(name, {} if classes is None else {"num_classes": classes})
    torchvision = import_torchvision()
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return network


def create_timm(name: str, options: dict[str, Any]) -> nn.Module:
    """`timm.create_model` with whatever freedom of image size the family offers."""
    timm = import_timm()
    freedoms: Sequence[dict[str, Any]] = (
        {"dynamic_img_size": True, "dynamic_img_pad": True},
        {"dynamic_img_size": True},
        {},
    )
    for freedom in freedoms:
        try:
            network: nn.Module = timm.create_model(name, **options, **freedom)
        except TypeError as error:
            if "dynamic_img" not in str(error):
                raise
        else:
            return network
    raise AssertionError("unreachable: the last attempt passes no such option")


@functools.cache
def architecture_traits(architecture: str) -> frozenset[Trait]:
    """What a network of this architecture has that some methods need; nothing of it is initialised.

    Raises:
        SourceError: The architecture is unknown.
    """
    import torch

    from automl_transfer.models.traits import traits_in

    with torch.device("meta"):
        return traits_in([create_network(architecture)])


def preprocessing(architecture: str) -> Preprocessing:
    """What the library states for this architecture (for timm: also with a tag)."""
    library, name = split_architecture(architecture)
    if library == "timm":
        config = import_timm().models.get_pretrained_cfg(name, allow_unregistered=True)
        if config is None:
            return Preprocessing(IMAGENET_MEAN, IMAGENET_STD, 224)
        return Preprocessing(_three(config.mean), _three(config.std), int(config.input_size[-1]))
    weights = list(import_torchvision().models.get_model_weights(name))
    return (
        torchvision_preprocessing(weights[0]) if weights else Preprocessing(IMAGENET_MEAN, IMAGENET_STD, 224)
    )


def torchvision_preprocessing(weights: Any) -> Preprocessing:
    """The preprocessing that a member of a weights enum states.

    GoogLeNet and Inception V3 come with a layer that turns ImageNet's normalisation into mean and std .5
    before the first convolution; it is not part of the backbone, so .5 is what their weights expect.
    """
    transform = weights.transforms()
    if type(weights).__name__ in ("GoogLeNet_Weights", "Inception_V3_Weights"):
        return Preprocessing((0.5,) * 3, (0.5,) * 3, int(transform.crop_size[0]))
    return Preprocessing(_three(transform.mean), _three(transform.std), int(transform.crop_size[0]))


def assemble(
    model: nn.Module,
    architecture: str,
    in_channels: int,
    stated: Preprocessing,
    *,
    pretrained: bool,
    notes: Sequence[str] = (),
    classifies: bool = True,
) -> tuple[Backbone, nn.Module]:
    """Adapt the first layer, keep all branches, cut the network into groups, prove them: backbone and tail.

    The tail is the network's own pooling and classifier; it shares no weights with the backbone, which keeps
    it as its source head where it is pretrained and `classifies` (its weights are those it was trained with).

    Raises:
        SourceError: The groups do not compute what the network computes.
    """
    from automl_transfer.models.families.registry import cut
    from automl_transfer.models.grouping import prove
    from automl_transfer.models.network import Backbone, adapt_channels, keep_branches

    adapt_channels(model, in_channels)
    keep_branches(model)
    grouping = cut(model)
    prove(model, grouping, architecture, in_channels, stated.resolution)
    backbone = Backbone(
        architecture,
        [part.module for part in grouping.groups],
        [part.note for part in grouping.groups],
        in_channels=in_channels,
        mean=stated.mean,
        std=stated.std,
        resolution=stated.resolution,
        pretrained=pretrained,
        prefix_tokens=grouping.prefix_tokens,
        notes=notes,
        source_head=grouping.tail.eval() if pretrained and classifies else None,
    )
    backbone.eval()
    return backbone, grouping.tail


def build_architecture(architecture: str, in_channels: int) -> Backbone:
    """An architecture with random weights, cut into layer groups; no download.

    An architecture that is a plugin's source by its name is built by that source.

    Raises:
        SourceError: The architecture is unknown, or cannot be cut.
    """
    check_channels(in_channels)
    if is_from_plugin(architecture):
        return plugin_source(architecture).build(in_channels)
    stated = preprocessing(architecture)
    backbone, _ = assemble(create_network(architecture), architecture, in_channels, stated, pretrained=False)
    return backbone


def require_timm(name: str) -> None:
    """Say how to install timm where it is missing.

    Raises:
        SourceError: timm is not installed.
    """
    if not has_timm():
        raise SourceError(
            f"{name} needs timm, which is not installed: pip install 'automl-transfer[timm]', "
            "or take a torchvision source"
        )


def unknown(kind: str, name: str, known: Sequence[str], prefix: str = "", extra: str = "") -> str:
    """The text for a name that is not known: names that are close, or some that exist."""
    spelled = {entry.lower(): entry for entry in known}
    close = difflib.get_close_matches(name.lower(), spelled, n=5, cutoff=0.5)
    close = close or difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.3)
    shown = [prefix + spelled[entry] for entry in close]
    hint = (
        f"close names: {', '.join(shown)}"
        if shown
        else f"for instance {', '.join(prefix + n for n in known[:5])}"
    )
    return f"no such {kind}: {name!r}; {hint}{extra}"


def _torchvision_names() -> list[str]:
    torchvision = import_torchvision()
    names = torchvision.models.list_models(module=torchvision.models)
    return [name for name in names if not name.startswith("quantized_")]


def _three(values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    return numbers * 3 if len(numbers) == 1 else numbers
