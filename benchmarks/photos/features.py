"""Logistic regression on last-layer features at 224 pixels, the penalty chosen on validation."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import numpy as np
import torch
from cell import begin, normalised
from lite0 import pretrained
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

PIXELS = 224
STRENGTHS = sorted(np.logspace(-5, 1, 13).tolist(), key=lambda c: abs(np.log10(c) + 2))
"""The likely ones first, for the case that time is short."""


def main() -> None:
    cell = begin()
    model = pretrained(3, 0).to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def features(split: str) -> np.ndarray:
        pictures = cell.splits[split].squashed(PIXELS)
        return torch.cat([model(normalised(x)) for x in pictures.split(32)]).numpy()

    scaler = StandardScaler()
    train, validation = scaler.fit_transform(features("train")), scaler.transform(features("validation"))
    labels = {split: part.labels.numpy() for split, part in cell.splits.items()}
    with cell.clock.stopped():
        test = scaler.transform(features("test"))
    best, predicted, chosen = (-1.0, -np.inf), np.zeros(0, dtype=int), 0.0
    for strength in STRENGTHS:
        head = LogisticRegression(C=strength, max_iter=2000).fit(train, labels["train"])
        logs = head.predict_log_proba(validation)
        right = float((logs.argmax(1) == labels["validation"]).mean())
        key = (right, float(logs[np.arange(len(logs)), labels["validation"]].mean()))
        if key > best:
            best, chosen = key, strength
            reached = cell.clock.now()
            with cell.clock.stopped():
                predicted = head.predict(test)
            cell.curve.append({
                "seconds": reached, "validation": right, "test": float((predicted == labels["test"]).mean()),
            })  # fmt: skip
        if cell.left() <= 0:
            break
    cell.finish(torch.from_numpy(predicted), strength=chosen)


if __name__ == "__main__":
    main()
