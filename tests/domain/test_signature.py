"""The signature of a task: exact through JSON, and strict about what comes from elsewhere."""

import json
from typing import Any

import pytest

from automl_transfer.domain.signature import TaskSignature
from automl_transfer.domain.strict_json import validate
from automl_transfer.errors import ConfigurationError

WHOLE: dict[str, Any] = {
    "task": "a" * 64,
    "images": 20,
    "classes": 2,
    "least": 8,
    "most": 12,
    "entropy": 0.97,
    "width": 8.0,
    "height": 9.0,
    "resolution": 32,
    "channels": 1,
    "channel_mean": [0.3],
    "channel_std": [0.2],
    "label_preserving": ["mirror"],
    "profile": {"net": {"1": 0.5, "8": 1.0}},
    "scores": {"logme": {"net": {"1": -0.25}}},
    "measured": {"net": 20},
    "frechet": {"net": None, "other": 0.5},
}


def test_it_is_the_same_after_json() -> None:
    signature = validate(TaskSignature, WHOLE, "signature")

    assert TaskSignature.from_json(signature.to_json()) == signature
    assert json.loads(signature.to_json()) == WHOLE
    assert signature.profile["net"] == {1: 0.5, 8: 1.0}
    assert signature.sources == ("net", "other")


def test_what_is_known_of_further_sources_is_added_and_nothing_replaced() -> None:
    signature = validate(TaskSignature, WHOLE, "signature")
    more = {"third": {"1": 0.75}, "net": {"1": 0.0}}
    other = {**WHOLE, "profile": more, "scores": {"gbc": more}, "measured": {"third": 9}, "frechet": {}}

    joined = signature.with_sources_of(validate(TaskSignature, other, "signature"))

    assert joined.sources == ("net", "other", "third")
    assert joined.profile == {**signature.profile, "third": {1: 0.75}}
    assert joined.scores == {"logme": {"net": {1: -0.25}}, "gbc": {"third": {1: 0.75}}}
    assert joined.measured == {"net": 20, "third": 9}
    assert joined.frechet == signature.frechet


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 0}, "images: input should be greater than or equal to 1, got 0"),
        ({"images": "20"}, "images: input should be a valid integer, got '20'"),
        ({"classes": 1}, "classes: input should be greater than or equal to 2"),
        ({"least": 13}, "least <= most <= images must hold"),
        ({"least": 11, "most": 12}, "20 images must fit 2 classes of 11 to 12 each"),
        ({"entropy": 1.5}, "entropy: input should be less than or equal to 1"),
        ({"channel_mean": [0.1, 0.2, 0.3]}, "channel_mean must have 1 numbers, got 3"),
        ({"profile": {"net": {"9": 0.5}}}, "input should be less than or equal to 8"),
        ({"profile": {"net": {"1": 1.5}}}, "input should be less than or equal to 1"),
        ({"profile": {"": {"1": 0.5}}}, "profile"),
        ({"frechet": {"net": -1.0}}, "greater than or equal to 0"),
        (
            {"frechet": {"checkpoint/timm/a@/home/ann/a.safetensors": 1.0}},
            "must not say where its file lies",
        ),
        ({"scores": {"logme": {"a\nb": {"1": 0.5}}}}, "must not hold a control character"),
        ({"scores": {"a b": {}}}, "pattern"),
        ({"frechet": {f"net{number}": None for number in range(201)}}, "200"),
        ({"name": "my cats"}, "name: unknown field"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        validate(TaskSignature, {**WHOLE, **changes}, "signature")
    assert said in str(refused.value)
