"""A report of a large study: seconds, bytes, and how soon the page answers in a browser.

    .venv/bin/python benchmarks/report.py [--trials 5000]

Trials are made by a rule and written to a SQLite store row by row; the command is the one people run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "reporting")]

from chromium import launched  # noqa: E402
from studies_by_hand import make_study, spec  # noqa: E402

from automl_transfer.domain.records import TrialState  # noqa: E402
from automl_transfer.store import tables as t  # noqa: E402
from automl_transfer.store.evidence import Evidence  # noqa: E402
from automl_transfer.store.optuna_rows import to_optuna  # noqa: E402
from automl_transfer.store.store import Store  # noqa: E402
from automl_transfer.store.url import StoreURL  # noqa: E402


def fill(path: Path, trials: int) -> None:
    report = make_study(trials, "large")
    assert report.task is not None
    with Store.open(StoreURL.parse(str(path))) as store:
        study = store.create_study(
            spec("large", trials=trials), report.task, artifact_url="artifacts", sources={}
        )
        finite = t.values.c.value_type.type.enum_class.FINITE
        with store.engine.begin() as connection:
            rows = [
                {
                    "trial_id": r.number + 1, "number": r.number, "study_id": study.study_id,
                    "state": to_optuna(r.state), "datetime_start": r.started.replace(tzinfo=None),
                    "datetime_complete": r.finished.replace(tzinfo=None),
                }
                for r in report.records
                if r.started and r.finished
            ]  # fmt: skip
            connection.execute(sa.insert(t.trials), rows)
            connection.execute(
                sa.insert(t.at_trials),
                [
                    {
                        "trial_id": r.number + 1, "study_id": study.study_id, "root": r.root, "attempt": 0,
                        "strategy": r.strategy.model_dump_json(), "label": "", "created_by": f"{r.number}",
                        "worker": r.worker, "stop": r.stop.model_dump_json(),
                        "outcome": r.outcome.model_dump_json(), "restarts": 0,
                    }
                    for r in report.records
                    if r.strategy and r.stop and r.outcome
                ],
            )  # fmt: skip
            connection.execute(
                sa.insert(t.at_epochs),
                [
                    {"trial_id": r.number + 1, "epoch": e.epoch, "result": e.model_dump_json()}
                    for r in report.records
                    for e in r.epochs
                ],
            )
            connection.execute(
                sa.insert(t.values),
                [
                    {"trial_id": r.number + 1, "objective": 0, "value": r.value, "value_type": finite}
                    for r in report.records
                    if r.state is not TrialState.FAIL
                ],
            )
        evidence = Evidence(store)
        for run in report.runs:
            evidence.add_run(study, run)
        for profile in report.profiles:
            evidence.add_profile(study, profile)


def browse(page: Path) -> dict[str, float]:
    with launched() as browser:
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        # Of the page's main thread alone, in processor time: other work of the machine does not count.
        session = tab.context.new_cdp_session(tab)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        start = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="commit")
        tab.wait_for_selector("h1")
        answer = time.perf_counter() - start
        tab.wait_for_selector("#plot-accuracy-over-time[data-drawn=yes]")
        first = time.perf_counter() - start
        tab.wait_for_selector("html[data-drawn=all]")
        everything = time.perf_counter() - start
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        # The time until the browser has done what a click asked for, as it measures it itself.
        click = """() => new Promise(done => {
          const start = performance.now();
          document.querySelectorAll('#ranking-table th button')[9].click();
          requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
        })"""
        sort = tab.evaluate(click) / 1000
    return {
        "answer_s": answer,
        "first_figure_s": first,
        "all_figures_s": everything,
        "sort_s": sort,
        "page_cpu_s": metrics["TaskDuration"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        database, page = Path(folder) / "store.db", Path(folder) / "report.html"
        fill(database, trials)
        command = [
            sys.executable, "-m", "automl_transfer", "report", "large", "--storage", f"sqlite:///{database}",
            "--html", str(page),
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime
        figures = {
            "trials": trials,
            "report_s": seconds,
            "report_cpu_s": cpu,
            "MB": page.stat().st_size / 1e6,
            **browse(page),
        }
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
