"""A trial in two small pictures, for people who look at it in a dashboard: its plan and its curve.

Drawn with Pillow, which decodes the images anyway, in some milliseconds; no plotting library is loaded.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from automl_transfer.domain.measured import Metric
from automl_transfer.domain.records import EpochResult, StopReason, best_of

if TYPE_CHECKING:
    from automl_transfer.transfer.plan import TransferPlan
    from automl_transfer.transfer.prepare.base import Reconstructions

_Color = tuple[int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK: _Color = (45, 52, 60)
SOFT: _Color = (120, 128, 137)
LINE: _Color = (222, 226, 230)
BLUE: _Color = (0, 114, 178)
ORANGE: _Color = (230, 159, 0)
PAPER: _Color = (255, 255, 255)
BAND: _Color = (246, 248, 250)

_COLORS = 64  # of the stored palette: enough for antialiased text in a few inks
_ROW, _GAP, _EDGE = 26, 22, 18


@cache
def _font(size: int) -> _Font:
    return ImageFont.load_default(size)


def draw_plan(plan: TransferPlan) -> bytes:
    """A PNG of the plan: the strategy in words, and a row per layer group with what happens to it."""
    header = ("group", "", "transferred", "trained", "init", "parameters", "of them trained", "learning rate")
    numbers = {5, 6, 7}
    rows = [
        (
            row.name,
            row.note,
            "yes" if row.transferred else "no",
            "frozen" if row.frozen else "yes",
            row.init,
            f"{row.parameters:,}",
            f"{row.trained:,}",
            "-" if row.learning_rate is None else f"{row.learning_rate:.3g}",
        )
        for row in plan.rows
    ]
    rows.append(("total", "", "", "", "", f"{plan.parameters:,}", f"{plan.trained_parameters:,}", ""))
    font = _font(14)
    widths = [
        int(max(font.getlength(line[column]) for line in (header, *rows))) for column in range(len(header))
    ]
    width = sum(widths) + _GAP * (len(widths) - 1) + 2 * _EDGE
    words = _wrapped(plan.strategy.describe(), _font(15), width - 2 * _EDGE)
    top = _EDGE + 22 * len(words) + 12
    image = Image.new("RGB", (width, top + _ROW * (len(rows) + 1) + _EDGE), PAPER)
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(words):
        pen.text((_EDGE, _EDGE + 22 * number), line, fill=INK, font=_font(15))
    for number, line_of in enumerate((header, *rows)):
        y = top + _ROW * number
        if number % 2:
            pen.rectangle((_EDGE // 2, y, width - _EDGE // 2, y + _ROW - 1), fill=BAND)
        frozen = 0 < number < len(rows) and line_of[3] == "frozen"
        x = _EDGE
        for column, (cell, column_width) in enumerate(zip(line_of, widths, strict=True)):
            left = x + column_width - font.getlength(cell) if column in numbers else x
            pen.text((left, y + 4), cell, fill=SOFT if number == 0 or frozen else INK, font=font)
            x += column_width + _GAP
    pen.line((_EDGE // 2, top + _ROW - 1, width - _EDGE // 2, top + _ROW - 1), fill=LINE, width=1)
    return _png(image)


def draw_curve(epochs: Sequence[EpochResult], metric: Metric, horizon: int, stop: StopReason) -> bytes:
    """A PNG of the curve: the validation score after each epoch, up to the study's horizon."""
    width, height, left, right, top, bottom = 640, 320, 64, 24, 56, 44
    scores = [epoch.score(metric) for epoch in epochs]
    best = epochs.index(best_of(epochs, metric))
    low, high, step = _axis(min(scores), max(scores))
    last = max(horizon, epochs[-1].epoch, 1)

    def at(epoch: float, score: float) -> tuple[float, float]:
        return (
            left + (width - left - right) * epoch / last,
            height - bottom - (height - top - bottom) * (score - low) / (high - low),
        )

    big = Image.new("RGB", (2 * width, 2 * height), PAPER)  # twice the size, so that lines come out smooth
    pen = ImageDraw.Draw(big)
    ticks = [low + step * i for i in range(round((high - low) / step) + 1)]
    for tick in ticks:
        _, y = at(0, tick)
        pen.line((2 * left, 2 * y, 2 * (width - right), 2 * y), fill=LINE, width=2)
    points = [at(epoch.epoch, score) for epoch, score in zip(epochs, scores, strict=True)]
    pen.line([(2 * x, 2 * y) for x, y in points], fill=BLUE, width=5, joint="curve")
    for number, (x, y) in enumerate(points):
        radius, color = (11, ORANGE) if number == best else (7, BLUE)
        pen.ellipse((2 * x - radius, 2 * y - radius, 2 * x + radius, 2 * y + radius), fill=color)
    image = big.reduce(2)
    pen = ImageDraw.Draw(image)
    font = _font(13)
    for tick in ticks:
        text, (_, y) = f"{100 * tick:.4g}%", at(0, tick)
        pen.text((left - 8 - font.getlength(text), y - 8), text, fill=SOFT, font=font)
    every = max(1, -(-last // 12))
    for epoch in range(0, last + 1, every):
        x, _ = at(epoch, low)
        pen.text((x - font.getlength(str(epoch)) / 2, height - bottom + 8), str(epoch), fill=SOFT, font=font)
    pen.text((width - right - font.getlength("epoch"), height - 20), "epoch", fill=SOFT, font=font)
    named = metric.replace("_", " ")
    title = f"Validation {named}: {100 * scores[best]:.2f}% after epoch {epochs[best].epoch}"
    pen.text((left, 10), title, fill=INK, font=_font(15))
    said = textwrap.shorten(str(stop), 90, placeholder="…")
    pen.text((left, 31), said, fill=SOFT, font=font)
    return _png(image)


def draw_reconstructions(found: Reconstructions) -> bytes:
    """A PNG of some images: as they are, as the network saw them, and as it reconstructs them."""
    rows = ("as it is", "as it is seen", "reconstructed")
    _, count, height, width, channels = found.images.shape
    large = max(1, 96 // max(height, width))
    wide, tall, gap, left, top = large * width, large * height, 6, 118, 40
    title = f"Mean squared error {found.before:.3g} before the encoder learned, {found.after:.3g} after"
    across = max(left + count * (wide + gap), _EDGE + int(_font(15).getlength(title))) + _EDGE
    image = Image.new("RGB", (across, top + len(rows) * (tall + gap) + _EDGE // 2), PAPER)
    pen, font = ImageDraw.Draw(image), _font(14)
    pen.text((_EDGE, 12), title, fill=INK, font=_font(15))
    for number, (name, pixels) in enumerate(zip(rows, found.images, strict=True)):
        y = top + number * (tall + gap)
        pen.text((_EDGE, y + tall // 2 - 9), name, fill=SOFT, font=font)
        for at, each in enumerate(pixels):
            shown = Image.fromarray(each[:, :, 0] if channels == 1 else each).convert("RGB")
            image.paste(shown.resize((wide, tall), Image.Resampling.NEAREST), (left + at * (wide + gap), y))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """Limits within [0, 1] around the scores, and the distance of ticks."""
    span = max(high - low, 0.02)
    step = next(
        s for s in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25) if span / s <= 5 or s == 0.25
    )
    first = int(low / step) * step
    until = -int(-(high + 1e-9) // step) * step
    if until - first < 2 * step:
        first, until = first - step, until + step
    return max(0.0, first), min(1.0, max(until, first + step)), step


def _wrapped(text: str, font: _Font, width: int) -> list[str]:
    average = font.getlength("a strategy in words") / len("a strategy in words")
    return textwrap.wrap(text, max(20, int(width / average)))[:6]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.quantize(_COLORS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=False, compress_level=6)
    return stream.getvalue()
