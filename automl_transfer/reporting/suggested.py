"""What the scores of sources suggest, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.reporting.plain import plain

Picks = Mapping[str, tuple[str, int]]


def picks(profiles: Sequence[ProfileRecord]) -> dict[str, tuple[str, int]]:
    """By score, the source and the cut (groups kept) where it is highest; of equal ones the lower cut."""
    found: dict[str, tuple[float, int, str]] = {}
    for profile in profiles:
        for cut in profile.cuts:
            for score, value in cut.scores.items():
                here = (value, -cut.cut, profile.source)
                found[score] = max(found.get(score, here), here, key=lambda each: each[:2])
    return {score: (source, -cut) for score, (_, cut, source) in found.items()}


def suggestion(profiles: Sequence[ProfileRecord]) -> str:
    """Which source to begin with and where to cut it, and which scores say so; empty without scores."""
    chosen = picks(profiles)
    if not chosen:
        return ""
    by_source: dict[str, dict[str, int]] = {}
    for score, (source, cut) in chosen.items():
        by_source.setdefault(source, {})[score] = cut
    told = sorted(by_source.items(), key=lambda each: -len(each[1]))
    if len(profiles) == 1:
        return f"to cut {plain(told[0][0], 60)} {_by_cut(told[0][1])}"
    said = [f"{plain(source, 60)}, {_by_cut(cuts)}" for source, cuts in told]
    if 2 * len(told[0][1]) <= len(chosen):
        return "no one source: " + "; ".join(said)
    first = f"{said[0]}: {len(told[0][1])} of {len(chosen)} scores"
    return first + ("; others " + "; ".join(said[1:]) if said[1:] else "")


def _by_cut(where: Mapping[str, int]) -> str:
    groups: dict[int, list[str]] = {}
    for score, cut in where.items():
        groups.setdefault(cut, []).append(score)
    return " or ".join(f"after group {cut} ({', '.join(scores)})" for cut, scores in sorted(groups.items()))
