"""Several trained networks that answer together: the mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from automl_transfer.domain.model_description import SCHEMA_TOGETHER, Member, ModelDescription, Network
from automl_transfer.domain.normalisation import FixedNormalisation, NormalisationFacts, constants
from automl_transfer.models.heads import TargetModel, build_from_description
from automl_transfer.transfer.pixels import Normaliser


class Ensemble(nn.Module):
    """(B, classes) logits log sum_m share_m softmax(z_m / T_m): their softmax is the mean of probabilities.

    State dict keys are `members.{m}.groups....` and `members.{m}.head....`.

    Args:
        networks: In the order of `facts`.
        facts: What each is.
        device: Where they run.

    Attributes:
        normalisation: Of the images that it takes: the members' own where they agree, else pixels in [0, 1],
            which each member normalises for itself.
        resolution_scale: The largest of its members'.
    """

    def __init__(
        self,
        networks: Sequence[TargetModel],
        facts: Sequence[Member],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.facts = tuple(facts)
        self.normalisation = common(facts)
        own = [each.normalisation for each in facts]
        agree = all(each == self.normalisation for each in own)
        self._own = [None if agree else _normaliser(each, device) for each in own]
        self.resolution_scale = max(each.resolution_scale for each in facts)

    @property
    def networks(self) -> list[TargetModel]:
        """Its members."""
        return list(self.members)  # type: ignore[arg-type]

    @property
    def flips(self) -> bool:
        """Whether its members look at mirror images, too."""
        return all(network.flips for network in self.networks)

    def forward(self, images: Tensor) -> Tensor:
        """(B, classes) logits of (B, C, H, W) images."""
        parts = []
        for network, stated, own in zip(self.members, self.facts, self._own, strict=True):
            logits = network(images if own is None else own.centred(images * 255.0))
            parts.append(torch.log_softmax(logits / stated.temperature, dim=1) + math.log(stated.share))
        return torch.logsumexp(torch.stack(parts), dim=0)


def common(members: Sequence[Member]) -> NormalisationFacts:
    """How the images are normalised that an ensemble takes."""
    first = members[0].normalisation
    if all(each.normalisation == first for each in members):
        return first
    channels = next(
        len(each.normalisation.mean) for each in members if isinstance(each.normalisation, FixedNormalisation)
    )
    return FixedNormalisation(mean=(0.0,) * channels, std=(1.0,) * channels)


def structure(model: TargetModel | Ensemble, architecture: str) -> dict[str, Any]:
    """How a model is built: these fields of a `ModelDescription`. An ensemble knows its architectures."""
    stated: dict[str, Any] = {"flips": model.flips}
    if model.flips or (isinstance(model, TargetModel) and model.adapter):
        stated["schema_"] = SCHEMA_TOGETHER
    if isinstance(model, Ensemble):
        first = {name: getattr(model.facts[0], name) for name in Network.model_fields}
        return {**stated, **first, "schema_": SCHEMA_TOGETHER, "members": model.facts}
    return {
        **stated,
        "architecture": architecture,
        "groups_kept": len(model.groups),
        "pool": model.head.grid,
        "taps": model.head.taps,
        "resolution_scale": model.resolution_scale,
        "adapter": model.adapter,
    }


def build_described(
    network: Network | ModelDescription,
    members: Sequence[Member],
    *,
    in_channels: int,
    classes: int,
    resolution: int,
    flips: bool = False,
    device: torch.device | str = "cpu",
) -> TargetModel | Ensemble:
    """The network, or the ensemble of the members, of a description; random weights, in evaluation mode.

    Raises:
        SourceError: An architecture is unknown or cannot be cut there.
    """
    described: Sequence[Network | ModelDescription] = members or [network]
    networks = [
        build_from_description(
            architecture=each.architecture,
            groups_kept=each.groups_kept,
            pool=each.pool,
            taps=each.taps,
            resolution_scale=each.resolution_scale,
            in_channels=in_channels,
            classes=classes,
            resolution=resolution,
            flips=flips,
            adapter=each.adapter,
        )
        for each in described
    ]
    return Ensemble(networks, members, device).eval() if members else networks[0]


def _normaliser(stated: NormalisationFacts, device: torch.device | str) -> Normaliser:
    mean, std = constants(stated) or (None, None)
    return Normaliser(mean, std, device)
