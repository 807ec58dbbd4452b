"""timm's pretrained weights, downloaded once by this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl_transfer.domain.dimensions import Trait
from automl_transfer.errors import SourceError
from automl_transfer.importing import import_timm
from automl_transfer.models import catalogue
from automl_transfer.models.architectures import (
    architecture_traits,
    assemble,
    create_timm,
    preprocessing,
    require_timm,
    unknown,
)
from automl_transfer.models.base import Source, SourceInfo, check_channels, file_sha256
from automl_transfer.models.download import cached_hub, cached_url, fetch_hub, fetch_url
from automl_transfer.models.known import unchanged

if TYPE_CHECKING:
    from automl_transfer.models.network import Backbone


class TimmSource(Source):
    """`timm/NAME` or `timm/NAME.TAG`; without a tag, timm's default one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._model = name.removeprefix("timm/")
        self._config = _pretrained_config(self._model)

    def info(self) -> SourceInfo:
        """From timm's own register; the size is known for the recommended ones."""
        path = self._cached()
        known = catalogue.find(self.name) or catalogue.find(f"{self._architecture()}.{self._config.tag}")
        return SourceInfo(
            name=self.name,
            architecture=self._architecture(),
            licence=self._config.license or "not stated by timm",
            size_bytes=path.stat().st_size if path else (known.size_bytes if known else None),
            available=path is not None,
            revision=_revision(path) or self._config.tag or None,
            note=known.note if known else f"timm weights {self._config.tag or 'without a tag'}",
        )

    def sha256(self) -> str | None:
        """Of the downloaded file."""
        path = self._cached()
        return None if path is None else file_sha256(path)

    def weights_file(self) -> Path | None:
        """The downloaded file."""
        return self._cached()

    def traits(self) -> frozenset[Trait]:
        """From its architecture: nothing is downloaded."""
        found = architecture_traits(self._architecture())
        return found | {"source_head"} if self._config.num_classes else found

    def load(self, in_channels: int, *, allow_download: bool = True) -> Backbone:
        """Through timm's own conversion of the file, which was read without unpickling code."""
        from automl_transfer.models.weights import read_weights

        check_channels(in_channels)
        state = read_weights(unchanged(self._fetch(allow_download), self.name))
        try:
            model = create_timm(
                self._model, {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": state}}
            )
        except (RuntimeError, KeyError, ValueError, AttributeError) as error:
            raise SourceError(
                f"the weights of {self.name} must fit their architecture, they do not: {error}; "
                "take another source, or another version of timm"
            ) from error
        stated = preprocessing(f"timm/{self._model}")
        classifies = bool(self._config.num_classes)
        backbone, _ = assemble(
            model, self._architecture(), in_channels, stated, pretrained=True, classifies=classifies
        )
        return backbone

    def _architecture(self) -> str:
        return f"timm/{self._config.architecture or self._model.partition('.')[0]}"

    def _cached(self) -> Path | None:
        if self._config.hf_hub_id:
            return cached_hub(self._config.hf_hub_id, self._config.hf_hub_filename)
        return cached_url(self._config.url)

    def _fetch(self, allow_download: bool) -> Path:
        size = self.info().size_bytes
        if self._config.hf_hub_id:
            return fetch_hub(
                self._config.hf_hub_id,
                self._config.hf_hub_filename,
                self.name,
                size,
                allow_download=allow_download,
            )
        return fetch_url(self._config.url, self.name, size, allow_download=allow_download)


def _pretrained_config(name: str) -> Any:
    require_timm(f"timm/{name}")
    timm = import_timm()
    base = name.partition(".")[0]
    if not timm.is_model(base):
        names = timm.list_models(pretrained=True)
        raise SourceError(unknown("timm source", base, names, "timm/", "; timm.list_pretrained() lists all"))
    tags = [full for full in timm.list_pretrained(f"{base}*") if full.partition(".")[0] == base]
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError:  # timm's error for a tag it does not know
        config = None
    if config is not None and (config.hf_hub_id or config.url):
        return config
    if tags:
        raise SourceError(unknown(f"weights of timm/{base}", name, tags, "timm/"))
    raise SourceError(
        f"a timm source must have pretrained weights, timm/{base} has none: "
        f"take scratch/timm/{base}, or a local file as checkpoint/timm/{base}@PATH"
    )


def _revision(path: Path | None) -> str | None:
    """The commit in a hub cache path (snapshots/COMMIT/FILE)."""
    return path.parent.name if path is not None and path.parent.parent.name == "snapshots" else None
