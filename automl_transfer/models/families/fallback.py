"""Networks of no known family: their top-level children in order."""

from __future__ import annotations

from torch import nn

from automl_transfer.models.grouping import MOST_GROUPS, Group, Grouping, group, sequence

Named = tuple[str, nn.Module]


def children_in_order(model: nn.Module) -> Grouping:
    """Each top-level child with weights starts a group; the last one with weights is the tail.

    Long sequences of stages are opened first. Whether the guess holds is for the proof to say.
    """
    layers: list[Named] = []
    for name, child in model.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)) and len(child) > 1:
            layers.extend((f"{name}_{key}", block) for key, block in child.named_children())
        else:
            layers.append((name, child))
    weighted = [at for at, (_, layer) in enumerate(layers) if next(layer.parameters(), None) is not None]
    if len(weighted) < 2:
        return Grouping((group("everything", *layers),), nn.Identity())
    last = weighted[-1]
    tail = layers[last:]
    if isinstance(tail[0][1], nn.Linear):
        tail = [("flatten", nn.Flatten(1)), *tail]
    return Grouping(tuple(_few(layers[:last])), sequence(*tail))


def _few(layers: list[Named]) -> list[Group]:
    """Layers without weights join the one before; the rest is cut into at most `MOST_GROUPS`."""
    blocks: list[list[Named]] = []
    for name, layer in layers:
        if blocks and next(layer.parameters(), None) is None:
            blocks[-1].append((name, layer))
        else:
            blocks.append([(name, layer)])
    length = -(-len(blocks) // MOST_GROUPS)
    found = []
    for start in range(0, len(blocks), length):
        part = [layer for block in blocks[start : start + length] for layer in block]
        first, last = part[0][0], part[-1][0]
        found.append(group(first if first == last else f"{first} to {last}", *part))
    return found
