"""torchvision's pretrained weights, downloaded once by this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import SourceError
from automl_transfer.importing import import_torchvision
from automl_transfer.models import catalogue
from automl_transfer.models.architectures import (
    architecture_traits,
    assemble,
    create_network,
    torchvision_preprocessing,
    unknown,
)
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256
from automl_transfer.models.download import cached_url, fetch_url
from automl_transfer.models.known import unchanged

if TYPE_CHECKING:
    from torch import Tensor

    from automl_transfer.models.network import Backbone

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_OLD_DENSE_LAYER = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)$")


class TorchvisionSource(Source):
    """`torchvision/WEIGHTS_ENUM.MEMBER`, for instance torchvision/ResNet18_Weights.IMAGENET1K_V1."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._weights, self._model = _find(name.removeprefix("torchvision/"))

    def info(self) -> SourceInfo:
        """From the weights' own description."""
        meta = self._weights.meta
        known = catalogue.find(self.name)
        size = meta.get("_file_size")
        return SourceInfo(
            name=self.name,
            architecture=f"torchvision/{self._model}",
            licence=str(meta.get("license", "BSD-3-Clause")),
            size_bytes=None if size is None else int(size * 2**20),
            available=cached_url(self._weights.url) is not None,
            revision=Path(self._weights.url).stem,
            note=known.note if known else f"torchvision weights {self._weights.name}",
        )

    def sha256(self) -> str | None:
        """Of the downloaded file."""
        path = cached_url(self._weights.url)
        return None if path is None else file_sha256(path)

    def weights_file(self) -> Path | None:
        """The downloaded file."""
        return cached_url(self._weights.url)

    def traits(self) -> frozenset[Trait]:
        """From its architecture: nothing is downloaded."""
        return architecture_traits(f"torchvision/{self._model}") | {"source_head"}

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """The file, read without unpickling code and fitted tensor by tensor."""
        from automl_transfer.models.weights import check_size, fit, read_weights

        check_channels(in_channels)
        info = self.info()
        path = fetch_url(self._weights.url, self.name, info.size_bytes, allow_download=allow_download)
        model = create_network(info.architecture, len(self._weights.meta["categories"]))
        check_size(path, model)
        state = read_weights(unchanged(path, self.name))
        fit(model, _current_names(state), self.name)
        stated = torchvision_preprocessing(self._weights)
        backbone, _ = assemble(model, info.architecture, in_channels, stated, pretrained=True)
        return backbone


def _find(name: str) -> tuple[Any, str]:
    """The member of a weights enum of a classification network, and that network's name."""
    models = import_torchvision().models
    found = {}
    for model in models.list_models(module=models):
        for weights in models.get_model_weights(model):
            found[str(weights)] = (weights, model)
        default = getattr(models.get_model_weights(model), "DEFAULT", None)
        if default is not None:
            found[f"{type(default).__name__}.DEFAULT"] = (default, model)
    if name in found:
        return found[name]
    model = name.lower().removesuffix("_weights")
    mine = sorted(str(w) for w, m in found.values() if model in (m, m.replace("_", "")))
    hint = f"; {name} has {', '.join('torchvision/' + m for m in dict.fromkeys(mine))}" if mine else ""
    raise SourceError(unknown("torchvision weights", name, list(found), "torchvision/", hint))


def _current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop auxiliary classifiers, and name the layers of old DenseNet files as torchvision does now."""
    return {
        _OLD_DENSE_LAYER.sub(r"\1\2", name): tensor
        for name, tensor in state.items()
        if not name.startswith(_AUXILIARY)
    }
