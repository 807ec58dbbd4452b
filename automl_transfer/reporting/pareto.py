"""Strategies that nothing beats in accuracy and a cost at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from automl_transfer.reporting.ranking import Row

COSTS: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "training": ("seconds to train", lambda row: row.train_seconds or None),
    "prediction": ("milliseconds to predict an image", lambda row: row.predict_ms_per_image or None),
    "size": ("weights", lambda row: None if row.parameters is None else float(row.parameters)),
}


def score_of(row: Row) -> float:
    """The confirmed score where there is one, else the validation score."""
    return row.validation.score if row.confirmation is None else row.confirmation.score


def front(rows: Sequence[Row], cost: Callable[[Row], float | None]) -> list[Row]:
    """The rows that no other row equals in both and beats in one, cheapest first."""
    priced = [(price, -score_of(row), row.rank, row) for row in rows if (price := cost(row)) is not None]
    found: list[Row] = []
    for _, _, _, row in sorted(priced, key=lambda entry: entry[:3]):
        if not found or score_of(row) > score_of(found[-1]):
            found.append(row)
    return found
