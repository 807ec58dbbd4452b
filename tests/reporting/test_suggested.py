"""What scores suggest, in words and in a picture."""

from __future__ import annotations

from automl_transfer.domain.evidence import CutRecord, ProfileRecord
from automl_transfer.reporting.figures.scores import draw_scores
from automl_transfer.reporting.suggested import suggestion


def profile(source: str, **scores: list[float]) -> ProfileRecord:
    """One cut a number."""
    length = max(map(len, scores.values()), default=1)
    cuts = [
        CutRecord(
            cut=at + 1, grid=1, features=8, loo_accuracy=0.5, loo_nll=1.0, ridge_lambda=1.0, truncation=at + 1,
            scores={name: values[at] for name, values in scores.items()},
        )
        for at in range(length)
    ]  # fmt: skip
    return ProfileRecord(source=source, normalise="source", images=9, seconds=0.5, cuts=tuple(cuts))


def test_one_source_is_cut_where_its_scores_are_best() -> None:
    found = suggestion([profile("a", ridge=[0.5, 0.9, 0.9], gbc=[-3.0, -2.0, -1.0])])
    assert found == "to cut a after group 2 (ridge) or after group 3 (gbc)"


def test_a_majority_names_a_source_and_the_others_are_named_too() -> None:
    ahead = profile("a", ridge=[0.5, 0.9], gbc=[-3.0, -2.0], knn=[0.1, 0.2])
    behind = profile("b", ridge=[0.6, 0.7], gbc=[-4.0, -2.5], knn=[0.3, 0.1])
    assert (
        suggestion([behind, ahead])
        == "a, after group 2 (ridge, gbc): 2 of 3 scores; others b, after group 1 (knn)"
    )


def test_scores_that_do_not_agree_are_not_made_to() -> None:
    one, other = profile("a", ridge=[0.9], gbc=[-3.0]), profile("b", ridge=[0.8], gbc=[-1.0])
    assert suggestion([one, other]) == "no one source: a, after group 1 (ridge); b, after group 1 (gbc)"


def test_without_scores_nothing_is_suggested_or_drawn() -> None:
    assert suggestion([]) == suggestion([profile("a")]) == ""
    assert draw_scores([profile("a")]) is None


def test_the_figure_has_a_panel_a_score_and_a_line_a_source_over_its_cuts() -> None:
    deep = profile("deep", ridge=[0.1, 0.2, 0.3, 0.25], gbc=[-4.0, -3.0, -2.0, -1.0])
    figure = draw_scores([deep, profile("<b>flat", ridge=[0.5, 0.4], gbc=[-5.0, -6.0])])
    assert figure is not None
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [title.text for title in figure.layout.annotations] == ["ridge", "gbc"]
    assert [(line.name, list(line.x)) for line in lines[:2]] == [
        ("deep", [0.25, 0.5, 0.75, 1.0]),
        ("<b>flat", [0.5, 1.0]),
    ]
    best = [trace for trace in figure.data if trace.mode == "markers"]
    assert [(list(mark.x), list(mark.y)) for mark in best[:2]] == [([0.75], [0.3]), ([0.5], [0.5])]
