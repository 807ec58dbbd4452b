"""A whole page around its content: styles, scripts, plotly, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from automl_transfer.printable import visible_lines
from automl_transfer.reporting.plain import count, plain, seconds

HERE = Path(__file__).parent
PLOTLY = "plotly-cartesian-4.1.1.min.js"
"""plotly.js's own bundle of plain charts: a third of the whole that the Python package holds, and without
anything that compiles code at run time. From npm's plotly.js-cartesian-dist-min, unchanged."""

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""plotly adds an empty style element, which it then fills rule by rule."""


@cache
def environment() -> Environment:
    """Templates in which every value is escaped, as HTML and for whoever prints the page's text."""
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=lambda value: visible_lines(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": lambda value, digits=1: f"{100 * value:.{digits}f}%",
        "points": lambda value, digits=1: f"{100 * value:+.{digits}f}",
        "seconds": seconds,
        "count": count,
        "plain": plain,
        "ms": lambda value: f"{value:.2g} ms",
    }
    return made


def page(template: str, plots: Mapping[str, Any], words: Mapping[int, str], **values: Any) -> str:
    """Render a page.

    Args:
        template: Its file beside this one.
        plots: plotly figures by name, as plain JSON values.
        words: What hovering a trial shows, by its number, as plotly's markup.
        values: What the template shows.
    """
    script, style = (HERE / "page.js").read_text("utf-8"), (HERE / "page.css").read_text("utf-8")
    plotly = _plotly() if plots else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(_hash(text) for text in (plotly, script) if text)}",
            f"style-src-elem {_hash(style)} {EMPTY_STYLE}",
            "style-src-attr 'unsafe-inline'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    data = json.dumps({"figures": dict(plots), "words": dict(words)}, separators=(",", ":"))
    return (
        environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),  # noqa: S704  (our own files)
            script=Markup(script),  # noqa: S704
            plotly=Markup(plotly),  # noqa: S704
            data=Markup(data.replace("<", "\\u003c")),  # noqa: S704  (no tag can begin in it)
            **values,
        )
    )


@cache
def _plotly() -> str:
    return (HERE / PLOTLY).read_text("utf-8").replace("</script", "<\\/script")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
