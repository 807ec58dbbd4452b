"""Terms by their formulas, and what training makes of them."""

from __future__ import annotations

import pytest
import torch

from automl_transfer.domain.strategy import Strategy
from automl_transfer.transfer.phases import Phase, gradual, lp_ft, phases_of
from automl_transfer.transfer.select import Selection, select_groups
from automl_transfer.transfer.terms.base import Term
from automl_transfer.transfer.terms.cutmix import CutMix
from automl_transfer.transfer.terms.mixup import Mixup

PIXELS = torch.arange(8, dtype=torch.float32).view(8, 1, 1, 1).expand(8, 3, 10, 10)
LABELS = torch.eye(8)


@pytest.mark.parametrize("term", [Mixup(0.4), CutMix(1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_a_label_has_the_share_that_its_image_has(term: Term, seed: int) -> None:
    """Image k is k everywhere and label k is one at k, so the mean of the pixels is that of the label."""
    torch.manual_seed(seed)
    below = torch.arange(8, dtype=torch.float32)[:, None].expand(8, 5)
    (x, pooled), targets = term.batch((PIXELS, below), LABELS)
    assert x.shape == PIXELS.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    expected = targets @ torch.arange(8, dtype=torch.float32)
    torch.testing.assert_close(x.mean((1, 2, 3)), expected)
    assert pooled is not None
    torch.testing.assert_close(pooled.mean(1), expected)
    torch.manual_seed(seed)
    (again, _), _ = term.batch((PIXELS, None), LABELS)
    assert torch.equal(x, again)


def test_cutmix_pastes_a_rectangle_and_mixup_blends_everywhere() -> None:
    torch.manual_seed(0)
    (cut, _), _ = CutMix(1.0).batch((PIXELS, None), LABELS)
    assert all(len(image.unique()) <= 2 for image in cut)
    (blended, _), _ = Mixup(1.0).batch((PIXELS, None), LABELS)
    assert all(len(image.unique()) == 1 for image in blended)
    (tokens, _), targets = CutMix(1.0).batch((PIXELS[:, :, :, 0], None), LABELS)
    torch.testing.assert_close(tokens.mean((1, 2)), targets @ torch.arange(8, dtype=torch.float32))


FULL = Strategy(tune_mode="full")


def test_phases_cover_the_horizon_and_end_with_what_the_strategy_says() -> None:
    selection = Selection(kept=9, transferred=9, frozen=0)
    assert lp_ft(FULL, selection, 10) == (Phase("head", 2, "head", 9), Phase("all", 8, "full", 0))
    found = gradual(FULL, selection, 10)
    assert [(phase.epochs, phase.frozen) for phase in found] == [(2, 9), (3, 6), (3, 3), (2, 0)]
    assert [phase.tune_mode for phase in found] == ["head", "full", "full", "full"]


@pytest.mark.parametrize("name", ["one", "lp_ft", "gradual"])
@pytest.mark.parametrize("mode", ["head", "suffix", "full", "body", "norm", "bias"])
@pytest.mark.parametrize("max_epochs", [1, 2, 3, 9, 30])
def test_every_method_of_phases_fits_every_mode_and_horizon(name: str, mode: str, max_epochs: int) -> None:
    for groups in (1, 2, 9):
        strategy = Strategy.model_validate({"tune_mode": mode, "phases": name, "freeze_depth": 8})
        selection = select_groups(strategy, groups, pretrained=True)
        found = phases_of(strategy, selection, max_epochs)
        assert found[-1].tune_mode == mode
        assert found[-1].frozen == selection.frozen
