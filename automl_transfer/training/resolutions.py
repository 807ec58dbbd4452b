"""The resolutions at which a profile looks at a task."""

from __future__ import annotations

from collections.abc import Callable

from automl_transfer.domain.task import scaled

MOST_PIXELS = 25e6
"""Pixels of all images together, up to which a second, larger resolution is tried."""
MOST_DETAILED_PIXELS = 60e6
"""The same of larger images that show more detail, all larger sizes together."""
LARGER, BETWEEN = (2.0, 1.75, 1.5, 1.25), 1.5
"""Factors of the task's resolution, the largest first, and the one that is looked at beside a larger one."""
STRETCHED = (2.0, 1.5)
"""Those without more detail."""


def profile_scales(
    resolution: int,
    native: int,
    images: int,
    has_detail: Callable[[float], bool] = lambda scale: False,
) -> tuple[float, ...]:
    """Resolutions to profile: the task's, and larger ones up to the source's own, where that is cheap.

    Images that are only stretched are looked at in one larger size. Where the files have the detail, it is
    the largest that can be afforded, in quarters, and one between, if that can be afforded too.

    >>> profile_scales(32, 224, 1000), profile_scales(128, 224, 300), profile_scales(224, 224, 300)
    ((1.0, 2.0), (1.0, 1.5), (1.0,))
    >>> [profile_scales(side, 224, 1000, lambda scale: True) for side in (64, 112, 128, 160, 192)]
    [(1.0, 1.5, 2.0), (1.0, 2.0), (1.0, 1.75), (1.0, 1.25), (1.0,)]
    """
    pixels = {scale: images * scaled(resolution, scale) ** 2 for scale in LARGER}
    fitting = [scale for scale in LARGER if scaled(resolution, scale) <= native]
    detailed: list[float] = []
    for scale in fitting:
        spent = sum(pixels[each] for each in detailed)
        is_next = not detailed or scale == BETWEEN
        if is_next and has_detail(scale) and spent + pixels[scale] <= MOST_DETAILED_PIXELS:
            detailed.append(scale)
    if detailed:
        return (1.0, *sorted(detailed))
    stretched = [scale for scale in fitting if scale in STRETCHED and pixels[scale] <= MOST_PIXELS]
    return (1.0, *stretched[:1])
