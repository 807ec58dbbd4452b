"""Recommended sources: facts stated here, so that they are listed without importing torch or timm.

Sizes of timm's files are those of their tensors (headers add some kilobytes); torchvision's are its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl_transfer.models.architectures import has_timm
from automl_transfer.models.base import SourceInfo
from automl_transfer.models.download import cached_hub, cached_url


@dataclass(frozen=True)
class Recommended:
    """One downloadable source.

    Attributes:
        location: The hub repository of timm's weights, or the file name of torchvision's.
    """

    name: str
    architecture: str
    licence: str
    size_bytes: int
    location: str
    note: str

    def cached(self) -> Path | None:
        """The weights file, if it is on this machine."""
        if self.name.startswith("timm/"):
            return cached_hub(self.location, None) if has_timm() else None
        return cached_url(self.location)

    def info(self) -> SourceInfo:
        """What `sources` shows."""
        path = self.cached()
        missing = self.name.startswith("timm/") and not has_timm()
        if self.name.startswith("torchvision/"):
            revision = Path(self.location).stem
        else:
            snapshot = path is not None and path.parent.parent.name == "snapshots"
            revision = path.parent.name if path and snapshot else self.name.rpartition(".")[2]
        return SourceInfo(
            name=self.name,
            architecture=self.architecture,
            licence=self.licence,
            size_bytes=path.stat().st_size if path else self.size_bytes,
            available=path is not None and not missing,
            revision=revision,
            note=f"{self.note}; needs the timm extra" if missing else self.note,
        )


def _timm(name: str, licence: str, size_bytes: int, note: str) -> Recommended:
    return Recommended(
        f"timm/{name}", f"timm/{name.partition('.')[0]}", licence, size_bytes, f"timm/{name}", note
    )


def _torchvision(weights: str, network: str, size_bytes: int, file_name: str, note: str) -> Recommended:
    return Recommended(
        f"torchvision/{weights}", f"torchvision/{network}", "BSD-3-Clause", size_bytes, file_name, note
    )


RECOMMENDED: tuple[Recommended, ...] = (
    _timm("mobilenetv3_small_100.lamb_in1k", "apache-2.0", 10_220_144, "ImageNet-1k; very small"),
    _timm("convnext_atto.d2_in1k", "apache-2.0", 14_782_080, "ImageNet-1k; small and strong"),
    _timm("efficientnet_b0.ra_in1k", "apache-2.0", 21_322_648, "ImageNet-1k"),
    _timm("deit_tiny_patch16_224.fb_in1k", "apache-2.0", 22_869_664, "ImageNet-1k; small transformer"),
    _timm("resnet18.a1_in1k", "apache-2.0", 46_796_608, "ImageNet-1k; the common baseline"),
    _timm("vit_small_patch14_dinov2.lvd142m", "apache-2.0", 88_224_768, "self-supervised; good features"),
    _timm("resnet50.a1_in1k", "apache-2.0", 102_441_032, "ImageNet-1k"),
    _timm("convnext_tiny.in12k_ft_in1k", "apache-2.0", 114_356_512, "ImageNet-12k, then 1k; strong"),
    _timm(
        "vit_base_patch16_siglip_224.v2_webli", "apache-2.0", 371_536_896, "images and their texts; strong"
    ),
    _torchvision(
        "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        "mobilenet_v3_small",
        10_306_453,
        "mobilenet_v3_small-047dcff4.pth",
        "ImageNet-1k; very small",
    ),
    _torchvision(
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
        "efficientnet_b0",
        21_444_427,
        "efficientnet_b0_rwightman-7f5810bc.pth",
        "ImageNet-1k",
    ),
    _torchvision(
        "ResNet18_Weights.IMAGENET1K_V1",
        "resnet18",
        46_830_452,
        "resnet18-f37072fd.pth",
        "ImageNet-1k; the common baseline",
    ),
    _torchvision(
        "ResNet50_Weights.IMAGENET1K_V2",
        "resnet50",
        102_540_247,
        "resnet50-11ad3fa6.pth",
        "ImageNet-1k",
    ),
    _torchvision(
        "AlexNet_Weights.IMAGENET1K_V1",
        "alexnet",
        244_409_434,
        "alexnet-owt-7be5be79.pth",
        "ImageNet-1k; two fully connected layers to transfer; images of 63 pixels or more",
    ),
)


STRONG: dict[str, int] = {
    "timm/convnext_tiny.in12k_ft_in1k": 20,
    "timm/vit_small_patch14_dinov2.lvd142m": 20,
    "timm/vit_base_patch16_siglip_224.v2_webli": 60,
}
"""What "auto+downloads" fetches, and the minutes from which a search without an accelerator has time for it.

One of each kind of pretraining, because which one is best differs between tasks: labels of 12,000 classes
under convolutions (Liu et al. 2022, the surest to fine-tune), no labels at all (DINOv2, Oquab et al. 2023,
the best frozen features of their size), and texts from the web (SigLIP 2, Tschannen et al. 2025, for what
ImageNet does not name). All may be used for any purpose.
"""


def find(name: str) -> Recommended | None:
    """The recommended source of this name."""
    return next((entry for entry in RECOMMENDED if entry.name == name), None)
