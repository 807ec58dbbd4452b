"""What a person sees, in a real Chromium, through the wrapper: no console error, no failed request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from browser import browse
from optuna.artifacts import ArtifactMeta
from served import Finished, Serve, copy_of

from automl_transfer.domain.records import StopKind, StopReason, TrialState
from automl_transfer.domain.strategy import Strategy
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.values import TrialDraft

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>
document.title = "taken over"; fetch("/api/studies");</script><rect width="9" height="9"/></svg>"""
PICTURES = (
    "Promise.all([...document.querySelectorAll('img')].map(i => i.decode().then(() => i.naturalWidth)))"
)


def test_study_note_trial_pictures_and_figures(finished: Finished, serve: Serve, chromium: Any) -> None:
    with browse(serve().base, chromium) as browser:
        browser.open("/")
        browser.see("shown")
        browser.open(f"/dashboard/studies/{finished.study_id}")
        for title in ("Hyperparameter Importance", "Accuracy over time", "Learning curves"):
            browser.see(title)
        assert "validation accuracy" in browser.text()  # the objective's name
        browser.open(f"/dashboard/studies/{finished.study_id}/analytics")
        browser.see("Contour")
        browser.open(f"/dashboard/studies/{finished.study_id}/smartSelection")
        browser.see("Parallel Coordinate")  # plotly's WebGL, which needs 'unsafe-eval'
        browser.page.wait_for_selector("canvas")
        browser.open(f"/dashboard/studies/{finished.study_id}/note")
        browser.see("The answer: trial")
        browser.see("automl-transfer report shown")
        browser.open(f"/dashboard/studies/{finished.study_id}/trials?numbers=1")
        browser.see("curve.png")
        shown = browser.text()
        assert "strategy efficientnet-lite0" in shown
        assert "stop completed" in shown
        assert "seconds " in shown
        sizes = browser.page.evaluate(PICTURES)
        assert len(sizes) == 2
        assert min(sizes) >= 640
        assert browser.troubles == []
        assert browser.requests > 10


def test_a_note_cannot_run_scripts(finished: Finished, serve: Serve, chromium: Any, tmp_path: Path) -> None:
    url = copy_of(finished, tmp_path)
    with Store.open(url) as store:
        study = optuna.load_study(study_name="shown", storage=store.optuna_storage)
        from optuna_dashboard import save_note

        save_note(study, 'hello <img src="/nothing" onerror="document.title=\'taken over\'">')
        store.optuna_storage.remove_session()
    with browse(serve(url).base, chromium) as browser:
        browser.open(f"/dashboard/studies/{finished.study_id}/note")
        browser.see("hello")
        browser.page.wait_for_load_state("networkidle")
        assert browser.page.title() == "Optuna Dashboard"


def test_an_svg_with_a_script_is_harmless(
    finished: Finished, serve: Serve, chromium: Any, tmp_path: Path
) -> None:
    url = copy_of(finished, tmp_path)
    with Store.open(url) as store:
        study, trials = store.study("shown"), Trials(store)
        claim = trials.create(study, TrialDraft(Strategy(), {}, {}), "w")
        assert claim is not None
        named = []
        for key, name, kind in (
            ("aaaa-1", "x.svg", "image/svg+xml"),
            ("aaaa-2", "x.html", "text/html"),
            ("aaaa-3", "x.json", "application/json"),
        ):
            (tmp_path / name).write_bytes(SVG)
            ArtifactStore(study.artifact_url).put(tmp_path / name, key)
            named.append(ArtifactMeta(key, name, kind, None))
        done = StopReason(kind=StopKind.COMPLETED)
        trials.finish(claim, TrialState.COMPLETE, 0.1, done, None, named)
    served = serve(url)
    file = f"/artifacts/{finished.study_id}/{claim.trial_id}/aaaa-"
    for number, inline in ((1, False), (2, False), (3, True)):
        status, headers, body = served.ask(f"{file}{number}")
        assert (status, body) == (200, SVG)
        assert headers.get("content-disposition") == (None if inline else "attachment")
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    with browse(served.base, chromium) as browser:
        with (
            browser.page.expect_download() as download,
            pytest.raises(Exception, match="Download is starting"),
        ):
            browser.page.goto(f"{served.base}{file}1")
        assert Path(download.value.path()).read_bytes() == SVG
        browser.troubles.clear()
        browser.page.goto(f"{served.base}{file}3")
        assert browser.page.title() == ""
        browser.open(f"/dashboard/studies/{finished.study_id}/trials?numbers={claim.number}")
        browser.see("x.svg")
        browser.page.wait_for_load_state("networkidle")
        assert browser.page.title() == "Optuna Dashboard"
        assert browser.troubles == []
