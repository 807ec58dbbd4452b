"""A comparison of sources says what each resolution gives, and takes."""

from pathlib import Path

from automl_transfer.api.profiling import profile_sources
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec


def test_what_each_resolution_gives_and_takes_is_said(tmp_path: Path) -> None:
    task = load_task(TaskSpec(dataset="digits?per_class=6"), cache_root=tmp_path)
    (found,) = profile_sources(task, ["efficientnet-lite0"], device="cpu", cache_root=tmp_path)
    assert [(at.pixels, at.detail) for at in found.resolutions] == [(32, False), (64, False)]
    for at in found.resolutions:
        cuts = [cut for cut in found.record.cuts if cut.resolution_scale == at.scale]
        assert at.accuracy in {cut.loo_accuracy for cut in cuts if cut.truncation is not None}
        assert at.milliseconds > 0.0
