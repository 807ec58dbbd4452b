"""Target models: a backbone cut after a group, with a new head."""

from __future__ import annotations

from automl_transfer.errors import SourceError
from automl_transfer.models.heads import PooledHead, TargetModel
from automl_transfer.models.network import Backbone
from automl_transfer.models.scratch import build_architecture


def truncate(
    backbone: Backbone, groups_kept: int, classes: int, pool: int = 1, resolution: int | None = None
) -> TargetModel:
    """The first groups of a backbone (its own modules, not copies) and a new head, in evaluation mode.

    Args:
        backbone: It stays usable; its weights are shared with the target model.
        groups_kept: 1 to all.
        classes: Number of logits.
        pool: Height and width of the grid that the last activation is pooled to.
        resolution: Of the images in pixels; None takes the backbone's native one.

    Raises:
        SourceError: `groups_kept` is out of range, or the images are too small.
    """
    if not 1 <= groups_kept <= len(backbone.groups):
        raise SourceError(
            f"groups_kept must be 1 to {len(backbone.groups)} for {backbone.architecture}, got {groups_kept}"
        )
    shape = backbone.shapes(resolution, stop=groups_kept)[-1]
    model = TargetModel(
        list(backbone.groups)[:groups_kept], PooledHead(shape, classes, pool, backbone.prefix_tokens)
    )
    model.eval()
    return model


def build_from_description(
    architecture: str, groups_kept: int, pool: int, in_channels: int, classes: int, resolution: int
) -> TargetModel:
    """The target model that a `model.json` describes, with random weights and in evaluation mode.

    Raises:
        SourceError: The architecture is unknown or cannot be cut there.
    """
    return truncate(build_architecture(architecture, in_channels), groups_kept, classes, pool, resolution)
