"""The one place that takes secrets out of text: URLs, connection strings, and what drivers say about them."""

from __future__ import annotations

import re

HIDDEN = "***"
PLACEHOLDER = "PASSWORD"
"""Stands for a password where a message says how a URL is written."""

_NAME = r"[\w.-]*(?:passw(?:or)?d|passphrase|passfile|pwd|secret|token|(?:api|access|client|server)_?key)"
_IS_SECRET = re.compile(_NAME + r"[\w.-]*", re.IGNORECASE)
# Up to the last @ of the word: whoever writes a password as it is also writes its @ as it is.
_USER_INFO = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z0-9+.-]+://)(\S*)@")
_SETTING = re.compile(
    rf"(?<![\w.-])({_NAME}[\w.-]*)(\s*=\s*)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&;'\"]+)",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text in which passwords of URLs and of `name=value` settings are hidden.

    >>> redacted("postgresql://ann:Tr0ub@dor@127.0.0.1/studies?sslpassword=x")
    'postgresql://ann:***@127.0.0.1/studies?sslpassword=***'
    >>> redacted("host=db user=ann password='a b' dbname=studies")
    'host=db user=ann password=*** dbname=studies'
    >>> redacted("postgresql://ann@db/studies")
    'postgresql://ann@db/studies'
    """
    hidden = _USER_INFO.sub(_without_password, text)
    return _SETTING.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", hidden)


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds what nobody else may know.

    >>> [is_secret(name) for name in ("PASSWORD", "sslpassword", "sslmode", "passfile")]
    [True, True, False, True]
    """
    return _IS_SECRET.fullmatch(name) is not None


def _without_password(found: re.Match[str]) -> str:
    scheme, info = found[1], found[2]
    user, colon, password = info.partition(":")
    shown = password if password == PLACEHOLDER else HIDDEN
    return f"{scheme}{user}:{shown}@" if colon else f"{scheme}{info}@"
