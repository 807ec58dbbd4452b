"""Through an autoencoder: the encoder learns to reconstruct the target's images, before labels are used.

The transferred groups see corrupted images; one 1x1 convolution and a pixel shuffle above them, thrown away
in the end, give the pixels (a decoder as light as SimMIM's, Xie et al. 2022, section 3.3). `denoise` adds
noise and asks for the clean image (Vincent et al. 2010); `masked` hides patches and asks for these. Masks
are of pixels, so that networks of convolutions and of tokens take the same; their cells are those of the
network's own grid.

At first the decoder learns alone, or its first errors would spoil what was transferred. Everything runs in
evaluation mode: norm layers keep the statistics of whole images, which corrupted ones do not have, and only
scale and shift move; where a strategy adapts statistics, that comes after, on clean images. What comes out
depends on weights, images, and the settings below, not on a trial's seed: so all trials, the refit and
`verify` share one result where they may look at the same images.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from automl_transfer.aborting import check_abort
from automl_transfer.models.heads import as_map
from automl_transfer.transfer.features import batch_for, is_out_of_memory, pixel_elements, read_pixels
from automl_transfer.transfer.freeze import TransferModel
from automl_transfer.transfer.keys import rounding, rows_digest, weights_digest
from automl_transfer.transfer.prepare.base import Prepared, Reconstructions, Subject, Values
from automl_transfer.transfer.views import Images

VERSION = 2
"""Counts changes of what comes out."""
BATCH = 32
ALONE = 0.3
"""Share of the steps in which the decoder learns alone."""
ENCODER_RATE, DECODER_RATE, DECAY = 1e-4, 3e-3, 0.01
CLIP = 1.0
"""Largest norm of a step's gradient: one odd batch must not spoil the encoder."""
NOISE = 0.5
"""Standard deviation of the noise, in units of the network's input."""
MASKED = 0.6
"""Share of the cells that are hidden."""
MOST_STRIDE = 32
"""Pixels a side that one place of the encoder's output gives: larger cells come out as smaller pictures."""
CELLS = 4
"""Cells a side that a mask has at least."""
SHOWN, JUDGED, SHOWN_SIDE = 6, 64, 96

Corrupt = Callable[[Tensor, int, torch.Generator], tuple[Tensor, Tensor]]
"""(B, C, H, W) images, the side of a cell and a generator to what the network sees, and the (B, 1, H, W)
weight of each pixel in the loss."""


def noisy(x: Tensor, cell: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gaussian noise on every pixel; all pixels count."""
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    return x + NOISE * noise, torch.ones_like(x[:, :1])


def hidden(x: Tensor, cell: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random cells become the mean of all images; these count."""
    count, _, height, width = x.shape
    rows, columns = -(-height // cell), -(-width // cell)
    cells = rows * columns
    drawn = torch.rand((count, cells), generator=generator).argsort(1).argsort(1) < round(MASKED * cells)
    mask = drawn.view(count, 1, rows, columns).repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    mask = mask[:, :, :height, :width].to(x.device)
    return x.masked_fill(mask, 0.0), mask.to(x.dtype)


def denoise(subject: Subject) -> Prepared:
    """Noise in, the clean image out."""
    return _reconstructed(subject, "denoise", noisy)


def masked(subject: Subject) -> Prepared:
    """A part of the image in, the hidden part out."""
    return _reconstructed(subject, "masked", hidden)


def _reconstructed(subject: Subject, name: str, corrupt: Corrupt) -> Prepared:
    encoder = list(subject.model.groups[: subject.selection.transferred])
    images, rows = subject.seen()
    if not encoder or len(rows) < 2:
        return Prepared()
    of = {
        "prepared": [name, VERSION, subject.strategy.prepare_steps],
        "weights": weights_digest(encoder),
        "task": subject.fingerprint,
        "rows": rows_digest(subject.rows),
        "unlabelled": hashlib.sha256(np.ascontiguousarray(subject.unlabelled()).data).hexdigest()[:32],
        "resolution": [*subject.images.shape[1:], subject.model.resolution_scale],
    }
    # What is drawn is the same wherever it is computed: on each device of a crew, and in `verify`.
    seed = int(hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:15], 16)
    key = {**of, **rounding(subject.normalise)}
    made = _Made.like(encoder, images, len(rows))
    values = np.empty((1, made.size), np.float32)
    beginning = [p.detach().clone() for group in encoder for p in group.parameters()]

    @torch.no_grad()
    def begin_anew() -> None:
        for parameter, was in zip((p for g in encoder for p in g.parameters()), beginning, strict=True):
            parameter.copy_(was)

    def fill(into: Values) -> None:
        begin_anew()  # whoever keeps it may have asked before, and failed to keep it
        _Adapting(subject, encoder, images, rows, corrupt, seed).run(made, into[0])

    kept = subject.keep.get(key, values.shape, "float32", fill)
    if kept is None:
        fill(values)
        kept = values
    return Prepared(changed=True, reconstructions=made.put_back(np.asarray(kept[0]), encoder))


@dataclass(frozen=True)
class _Made:
    """How a result lies in one row of numbers: the encoder's parameters, two errors, then pictures."""

    parameters: int
    pictures: tuple[int, ...]

    @classmethod
    def like(cls, encoder: list[nn.Module], images: Images, count: int) -> _Made:
        height, width, channels = images.shape[1:]
        side = max(height, width)
        shrunk = max(1, math.ceil(side / SHOWN_SIDE))
        shown = min(SHOWN, count)
        return cls(
            sum(p.numel() for group in encoder for p in group.parameters()),
            (3, shown, channels, max(1, height // shrunk), max(1, width // shrunk)),
        )

    @property
    def size(self) -> int:
        return self.parameters + 2 + math.prod(self.pictures)

    def write(
        self, into: Values, encoder: list[nn.Module], before: float, after: float, pictures: Tensor
    ) -> None:
        flat = [p.detach().cpu().reshape(-1) for group in encoder for p in group.parameters()]
        into[:] = torch.cat([*flat, torch.tensor([before, after]), pictures.cpu().reshape(-1)]).numpy()

    @torch.no_grad()
    def put_back(self, row: Values, encoder: list[nn.Module]) -> Reconstructions:
        start = 0
        for group in encoder:
            for parameter in group.parameters():
                stop = start + parameter.numel()
                part = np.array(row[start:stop])  # a copy: what is kept is read-only
                parameter.copy_(torch.from_numpy(part).view(parameter.shape))
                start = stop
        before, after = float(row[start]), float(row[start + 1])
        pictures = np.array(row[start + 2 :]).reshape(self.pictures)
        return Reconstructions(np.moveaxis(pictures, 2, 4).astype(np.uint8), before, after)


class _Decoder(nn.Module):
    """The last activation, standardised, to pixels: a 1x1 convolution, its channels shuffled into squares.

    It begins as the images' mean colour, whatever it sees.

    Args:
        like: (B, C, h, w), (B, N, C) or (B, F) activations of some images.
        stride: Height and width in pixels that one place gives.
        mean: (colours,) of the images.
        prefix_tokens: Tokens in front of the patches'.
    """

    def __init__(self, like: Tensor, stride: int, mean: Tensor, prefix_tokens: int) -> None:
        super().__init__()
        self._prefix_tokens = prefix_tokens
        found = map_of(like, prefix_tokens)
        std, self._mean = torch.std_mean(found, (0, 2, 3), correction=0, keepdim=True)
        # What hardly moves in these images is not blown up: in others it may be large.
        self._std = std.clamp_min(float(std.mean()) + 1e-12)
        self.pixels = nn.Conv2d(int(found.shape[1]), len(mean) * stride**2, 1)
        nn.init.zeros_(self.pixels.weight)
        assert self.pixels.bias is not None
        with torch.no_grad():
            self.pixels.bias.copy_(mean.repeat_interleave(stride**2))
        self.shuffle = nn.PixelShuffle(stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, colours, h x stride, w x stride)."""
        x = (map_of(x, self._prefix_tokens) - self._mean) / self._std
        pixels: Tensor = self.shuffle(self.pixels(x))
        return pixels


def map_of(x: Tensor, prefix_tokens: int) -> Tensor:
    """An activation as a map (B, C, h, w); tokens that form no square, and features, become one place."""
    if x.dim() == 3:
        patches = x[:, prefix_tokens:]
        if math.isqrt(patches.shape[1]) ** 2 == patches.shape[1]:
            return as_map(patches)
        x = patches.mean(1)
    return x[:, :, None, None] if x.dim() == 2 else x


class _Adapting:
    """One run of a preparation: see the module."""

    def __init__(
        self,
        subject: Subject,
        encoder: list[nn.Module],
        images: Images,
        rows: np.ndarray,
        corrupt: Corrupt,
        seed: int,
    ) -> None:
        self._subject = subject
        self._model: TransferModel = subject.model
        self._encoder = encoder
        self._images, self._rows = images, rows
        self._corrupt = corrupt
        self._generator = torch.Generator().manual_seed(seed)
        self._steps = subject.strategy.prepare_steps
        self._micro = min(
            BATCH,
            batch_for(
                pixel_elements(subject.images.shape[1:3], self._model.resolution_scale),
                subject.normalise.device,
            ),
        )

    def run(self, made: _Made, into: Values) -> None:
        """Adapt the encoder, and write what came out. Leaves gradients and modes as they were."""
        parameters = [p for group in self._encoder for p in group.parameters()]
        wanted = [p.requires_grad for p in parameters]
        self._model.eval()
        judged = self._pixels(self._spread(JUDGED))
        side = int(judged.shape[2])
        with torch.no_grad():
            like = self._encode(judged[:BATCH])
        stride = -(-side // int(map_of(like[:1], self._prefix).shape[2]))
        self._cell = max(1, min(stride, side // CELLS))
        decoder = _Decoder(like, min(MOST_STRIDE, stride), judged.mean((0, 2, 3)), self._prefix)
        self._decoder = decoder.to(judged.device)
        judged_seen = self._corrupt(judged, self._cell, self._generator)
        try:
            alone = round(ALONE * self._steps)
            self._train([], range(alone))
            before = self._error(judged, *judged_seen)
            self._train(parameters, range(alone, self._steps))
            after = self._error(judged, *judged_seen)
            pictures = self._pictures(made, judged, judged_seen[0])
        finally:
            for parameter, was in zip(parameters, wanted, strict=True):
                parameter.requires_grad_(was)
                parameter.grad = None
        made.write(into, self._encoder, before, after, pictures)

    @property
    def _prefix(self) -> int:
        return self._model.head.prefix_tokens

    def _spread(self, most: int) -> np.ndarray:
        """At most so many rows, evenly spread."""
        at = np.linspace(0, len(self._rows) - 1, min(most, len(self._rows))).astype(np.int64)
        return np.asarray(self._rows[at])

    def _pixels(self, rows: np.ndarray) -> Tensor:
        """(B, C, H, W) as the first group takes them."""
        return self._model.resize(self._subject.normalise(read_pixels(self._images, rows)))

    def _encode(self, x: Tensor) -> Tensor:
        for group in self._encoder:
            x = group(x)
        return x

    def _train(self, moving: list[nn.Parameter], steps: range) -> None:
        """Steps of the decoder, and of these parameters of the encoder."""
        for parameter in (p for group in self._encoder for p in group.parameters()):
            parameter.requires_grad_(False)
        for parameter in moving:
            parameter.requires_grad_(True)
        optimiser = torch.optim.AdamW(
            [
                {"params": list(self._decoder.parameters()), "lr": DECODER_RATE},
                *([{"params": moving, "lr": ENCODER_RATE}] if moving else []),
            ],
            weight_decay=DECAY,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, len(steps)))
        for _ in steps:
            check_abort()
            size = min(BATCH, len(self._rows))
            drawn = torch.randperm(len(self._rows), generator=self._generator)[:size].numpy()
            x = self._pixels(np.sort(self._rows[drawn]))
            self._step(optimiser, x, *self._corrupt(x, self._cell, self._generator))
            schedule.step()

    def _step(self, optimiser: torch.optim.Optimizer, x: Tensor, seen: Tensor, weight: Tensor) -> None:
        """In parts that fit into memory: in evaluation mode images do not see each other."""
        while True:
            try:
                optimiser.zero_grad(set_to_none=True)
                parts = range(0, len(x), self._micro)
                for at in parts:
                    part = slice(at, at + self._micro)
                    check_abort()
                    loss = self._loss(x[part], seen[part], weight[part]) * len(x[part]) / len(x)
                    loss.backward()  # type: ignore[no-untyped-call]
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._micro == 1:
                    raise
                self._micro = -(-self._micro // 2)
        moving = [p for group in optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(moving, CLIP)
        optimiser.step()

    def _loss(self, x: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
        """Mean squared error of the pixels that count."""
        found = self._decoder(self._encode(seen))
        size = [min(a, b) for a, b in zip(found.shape[2:], x.shape[2:], strict=True)]
        found, x, weight = (_at(each, size) for each in (found, x, weight))
        return ((found - x).square() * weight).sum() / (weight.sum() * x.shape[1]).clamp_min(1e-6)

    @torch.no_grad()
    def _error(self, x: Tensor, seen: Tensor, weight: Tensor) -> float:
        total = 0.0
        for at in range(0, len(x), self._micro):
            part = slice(at, at + self._micro)
            check_abort()
            total += float(self._loss(x[part], seen[part], weight[part])) * len(x[part])
        return total / len(x)

    @torch.no_grad()
    def _pictures(self, made: _Made, x: Tensor, seen: Tensor) -> Tensor:
        """(3, n, C, H, W) in 0 to 255: each row of images in the range of the clean ones."""
        x, seen = x[: made.pictures[1]], seen[: made.pictures[1]]
        found = torch.cat([self._decoder(self._encode(each[None])) for each in seen])
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        rows = [
            (_at(each, list(made.pictures[3:])) - low) / (high - low).clamp_min(1e-6)
            for each in (x, seen, found)
        ]
        return (torch.stack(rows) * 255.0).round().clamp(0.0, 255.0)


def _at(x: Tensor, size: list[int]) -> Tensor:
    """Resized, where it is of another size."""
    if list(x.shape[2:]) == size:
        return x
    if all(a <= b for a, b in zip(size, x.shape[2:], strict=True)):
        return F.adaptive_avg_pool2d(x, (size[0], size[1]))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
