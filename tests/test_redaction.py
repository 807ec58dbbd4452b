"""No password reaches a text (D14, E8): one redactor for URLs, connection strings and drivers' messages."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automl_transfer import redaction
from automl_transfer.redaction import redacted


def test_examples() -> None:
    assert doctest.testmod(redaction).failed == 0


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:Tr0ub@dor@127.0.0.1/d",
        "postgresql://ann:Tr0ub/@dor@127.0.0.1:5432/d",
        "error in postgresql+psycopg2://ann:Tr0ub@dor@h/d?sslmode=require: no such host",
        "host=127.0.0.1 user=ann password=Tr0ub@dor dbname=d",
        "host=h password='Tr0ub @dor' dbname=d",
        r"host=h password='Tr0ub\'@dor' dbname=d",
        "postgresql://ann@h/d?PASSWORD=Tr0ub@dor",
        "postgresql://h/d?user=ann&sslpassword=Tr0ub%40dor&sslmode=require",
        "PGPASSWORD=Tr0ub@dor",
        "AWS_SECRET_ACCESS_KEY=Tr0ub@dor",
        "s3://key:Tr0ub@dor@bucket/folder",
        "got 'postgresql://ann:Tr0ub@dor@h/d'",
    ],
)
def test_nothing_of_a_password_is_left(text: str) -> None:
    shown = redacted(text)
    assert "Tr0ub" not in shown
    assert "dor" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann@h/d",
        "sqlite:///runs/automl-transfer.db",
        "checkpoint/timm/resnet18@/home/ann/net.safetensors must be a safetensors file",
        "the password must be right; passwords are percent-encoded (@ is %40)",
        "--token-file must be readable",
        "Use postgresql://USER:PASSWORD@HOST/DATABASE",
        "learning_rate=0.001 batch=64",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1))
def test_any_password_in_a_url(password: str) -> None:
    secret = f"Zq{password}qZ"
    assert secret not in redacted(f"postgresql://ann:{secret}@h/d")
