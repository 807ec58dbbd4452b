"""Target models: a backbone cut after a group, with a new head."""

from __future__ import annotations

from automl_transfer.errors import SourceError
from automl_transfer.models.architectures import build_architecture
from automl_transfer.models.heads import PooledHead, TargetModel, scaled
from automl_transfer.models.network import Backbone


def truncate(
    backbone: Backbone,
    groups_kept: int,
    classes: int,
    pool: int = 1,
    resolution: int | None = None,
    taps: int = 1,
    resolution_scale: float = 1.0,
) -> TargetModel:
    """The first groups of a backbone (its own modules, not copies) and a new head, in evaluation mode.

    Args:
        backbone: It stays usable; its weights are shared with the target model.
        groups_kept: 1 to all.
        classes: Number of logits.
        pool: Height and width of the grid that activations are pooled to.
        resolution: Of the images in pixels; None takes the backbone's native one.
        taps: Number of topmost group outputs that the head reads.
        resolution_scale: Images are resized by this factor first.

    Raises:
        SourceError: `groups_kept` is out of range, or the images are too small.
    """
    if not 1 <= groups_kept <= len(backbone.groups):
        raise SourceError(
            f"groups_kept must be 1 to {len(backbone.groups)} for {backbone.architecture}, got {groups_kept}"
        )
    if not 1 <= taps <= groups_kept:
        raise SourceError(f"taps must be 1 to the groups kept ({groups_kept}), got {taps}")
    size = scaled(resolution or backbone.resolution, resolution_scale)
    shapes = backbone.shapes(size, stop=groups_kept)[-taps:]
    head = PooledHead(shapes, classes, pool, backbone.prefix_tokens)
    model = TargetModel(list(backbone.groups)[:groups_kept], head, resolution_scale)
    model.eval()
    return model


def build_from_description(
    architecture: str,
    groups_kept: int,
    pool: int,
    in_channels: int,
    classes: int,
    resolution: int,
    taps: int = 1,
    resolution_scale: float = 1.0,
) -> TargetModel:
    """The target model that a `model.json` describes, with random weights and in evaluation mode.

    Raises:
        SourceError: The architecture is unknown or cannot be cut there.
    """
    backbone = build_architecture(architecture, in_channels)
    return truncate(backbone, groups_kept, classes, pool, resolution, taps, resolution_scale)
