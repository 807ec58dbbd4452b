"""Attacks and what withstands them beside their formulas, worked out in numpy on the same tensors, to 1e-5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_plans import CPU, plan
from torch import Tensor, nn

from automl_transfer.cli.main import main
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.attack import Attack, attack_of, share
from automl_transfer.domain.measured import check_metric
from automl_transfer.domain.spec import SearchSpec
from automl_transfer.errors import ConfigurationError
from automl_transfer.training.loss import Loss, generalised
from automl_transfer.training.robustness import withstands
from automl_transfer.transfer.attack import climb, margin, start_within, step_length
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.terms.adversarial import Adversarial, InputNoise

WITHIN: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [30.0, -30.0, 0.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([1, 0, 1, 2])


class Linear(nn.Module):
    """Logits that are linear in the pixels: its gradients are known."""

    resolution_scale = 1.0

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_generalised_cross_entropy(q: float, smoothing: float, weighted: bool) -> None:
    """Zhang & Sabuncu 2018, eq. 6; soft targets and class weights as the cross-entropy takes them."""
    weights = np.array([0.5, 1.0, 2.0]) if weighted else np.ones(3)
    targets = np.eye(3)[LABELS.numpy()] * (1 - smoothing) + smoothing / 3
    expected = (targets * weights * (1 - softmax(LOGITS.double().numpy()) ** q) / q).sum(1)
    given = torch.tensor(weights, dtype=torch.float32) if weighted else None
    np.testing.assert_allclose(generalised(LOGITS, LABELS, q, smoothing, given).numpy(), expected, **WITHIN)
    soft = torch.eye(3)[LABELS]
    np.testing.assert_allclose(generalised(LOGITS, soft, q, smoothing, given).numpy(), expected, **WITHIN)
    counts = torch.tensor([1.0, 3.0, 0.0, 2.0])
    loss = Loss(smoothing, given, q)
    np.testing.assert_allclose(float(loss(LOGITS, LABELS, 2.0)), expected.sum() / 2, **WITHIN)
    np.testing.assert_allclose(
        float(loss(LOGITS, LABELS, 2.0, counts)), (expected * counts.numpy()).sum() / 2, **WITHIN
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_for_a_small_q_it_is_the_cross_entropy_and_a_wrong_label_pulls_less(smoothing: float) -> None:
    weights = torch.tensor([0.5, 1.0, 2.0])
    plain = Loss(smoothing, weights)(LOGITS, LABELS, 1.0)
    torch.testing.assert_close(Loss(smoothing, weights, 1e-5)(LOGITS, LABELS, 1.0), plain, rtol=1e-3, atol=0)
    pulls = []
    for q in (0.0, 0.7):
        logits = torch.tensor([[4.0, 0.0, 0.0]], requires_grad=True)
        Loss(0.0, None, q)(logits, torch.tensor([1]), 1.0).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        pulls.append(float(logits.grad.norm()))
    assert pulls[1] < 0.1 * pulls[0]


def test_one_step_moves_along_the_sign_of_the_gradient_and_stays_in_the_ball_and_the_range() -> None:
    """Goodfellow et al. 2015, section 4: x + eps sign(W^T (p - y)) for a linear model."""
    torch.manual_seed(0)
    pixels, weight = torch.rand(4, 1, 3, 3) * 255, torch.randn(3, 9) / 255
    model = Linear(weight)
    labels = torch.tensor([0, 1, 2, 1])

    def loss_of(x: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), labels, reduction="sum")

    radius = 255 * 8 / 255
    found = climb(pixels, pixels, loss_of, radius, step_length(radius, 1, from_within=False))
    p = softmax((pixels.flatten(1) @ weight.T).numpy()) - np.eye(3)[labels.numpy()]
    expected = np.clip(pixels.flatten(1).numpy() + radius * np.sign(p @ weight.numpy()), 0, 255)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, **WITHIN)
    far = climb(start_within(pixels, radius), pixels, loss_of, radius, 5 * radius)
    assert float((far - pixels).abs().max()) <= radius + 1e-4
    assert float(far.min()) >= 0
    assert float(far.max()) <= 255


def test_the_margin_has_a_gradient_where_the_cross_entropy_has_none() -> None:
    np.testing.assert_allclose(margin(LOGITS, LABELS).numpy(), [3.0, 0.1, 60.0, 0.0], **WITHIN)
    logits = torch.tensor([[200.0, 0.0, -5.0]], requires_grad=True)
    (plain,) = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.tensor([0])), logits)
    (ours,) = torch.autograd.grad(margin(logits, torch.tensor([0])).sum(), logits)
    assert plain.abs().sum() == 0
    assert ours.tolist() == [[-1.0, 1.0, 0.0]]


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_what_withstands_is_what_the_formula_says_of_a_linear_model(kind: str) -> None:
    """The margin of two classes falls by eps |w_0 - w_1|_1: what is left of it decides."""
    weight = torch.zeros(2, 16)
    weight[0], weight[1] = 0.01, -0.01
    images = np.full((6, 4, 4, 1), 128, np.uint8)
    images[:, 0, 0, 0] += np.arange(6, dtype=np.uint8) * 20
    labels = np.array([0, 0, 0, 1, 0, 0])
    model = Linear(weight)
    normalise = Normaliser((0.5,), (1 / 255,))
    z = ((images.reshape(6, -1) - 127.5) * 0.02).sum(1)
    for eps in (0.4 / 255, 0.6 / 255, 4 / 255):
        attack = Attack.of(kind, eps, 5 if kind == "pgd" else None)
        found = withstands(model, images, np.arange(6), labels, normalise, attack)  # type: ignore[arg-type]
        assert found.tolist() == ((z - 16 * 0.02 * 255 * eps > 0) & (labels == 0)).tolist()
    model.train()
    withstands(model, images, np.arange(6), labels, normalise, Attack.parse("fgsm:1/255"))  # type: ignore[arg-type]
    assert model.training
    assert model.weight.grad is None


def test_noise_and_attack_in_a_step_are_of_pixels_whatever_the_normalisation(task: LoadedTask) -> None:
    rows = task.indices["train"][:8]
    pixels = torch.from_numpy(np.ascontiguousarray(task.images[rows])).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(task.labels[rows].astype(np.int64))
    torch.manual_seed(3)
    noisy = InputNoise(0.1).pixels(pixels, labels)
    torch.manual_seed(3)
    expected = (pixels + 25.5 * torch.randn(pixels.shape)).clamp(0, 255)
    torch.testing.assert_close(noisy, expected)
    for normalise in ("source", "dataset", "per_image"):
        found = plan(task, tune_mode="full", head_init="he", normalise=normalise, adversarial=0.02,
                     adversarial_steps=3, norm_policy="train", stoch_norm=0.5)  # fmt: skip
        (term,) = (term for term in found.terms if type(term) is Adversarial)
        before = {name: b.clone() for name, b in found.model.named_buffers()}
        found.model.train()
        moved = term.pixels(pixels, labels)
        assert float((moved - pixels).abs().max()) <= 255 * 0.02 + 1e-3
        assert float((moved - pixels).abs().mean()) > 1.0
        assert all(torch.equal(b, before[name]) for name, b in found.model.named_buffers())
        assert all(p.grad is None for p in found.model.parameters())
        assert found.model.training
        centred = found.normaliser(CPU).centred
        with torch.no_grad():
            found.model.eval()
            losses = [nn.functional.cross_entropy(found.model(centred(x)), labels) for x in (pixels, moved)]
        assert losses[1] > losses[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("pgd:8/255:20", "PGD-20 8/255"), ("fgsm:.1", "FGSM 25.5/255"), (" PGD:2/255 ", "PGD-10 2/255")],
)
def test_attacks_are_written_and_shown(text: str, shown: str) -> None:
    assert str(Attack.parse(text)) == shown


@pytest.mark.parametrize("text", ["", "pgd", "cw:1/255", "pgd:0", "pgd:2", "pgd:300/255", "pgd:nan", "pgd:1/255:0",
                                  "pgd:1/255:9999", "fgsm:-1"])  # fmt: skip
def test_what_is_no_attack_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"attack must|eps must"):
        Attack.parse(text)


def test_fgsm_has_one_step_whoever_makes_it() -> None:
    """More were cut to one in silence, or taken by an attack that was called FGSM."""
    found = [Attack(kind="fgsm", eps=0.1), Attack.of("fgsm", 0.1), Attack.parse("fgsm:.1:1")]
    assert [attack.steps for attack in found] == [1, 1, 1]
    for make in (
        lambda: Attack(kind="fgsm", eps=0.1, steps=20),
        lambda: Attack.of("fgsm", 0.1, 20),
        lambda: Attack.parse("fgsm:.1:20"),
    ):
        with pytest.raises(ConfigurationError, match="fgsm has one step, got 20"):
            make()
    with pytest.raises(ValidationError, match="fgsm has one step, got 20"):
        SearchSpec(attack="fgsm:.1:20")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--eps 4/255", "--eps and --steps are of --attack"),
        ("--steps 20", "--eps and --steps are of --attack"),
        ("--attack fgsm --steps 20", "fgsm has one step, got 20"),
        ("--attack pgd --eps=", "eps must be a number"),
    ],
)
def test_options_of_an_attack_that_would_do_nothing_are_refused(
    options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "m", "digits", *options.split()])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_metric_of_an_attack() -> None:
    assert attack_of("robust-8") == Attack(kind="pgd", eps=share("8/255"), steps=10)
    assert [attack_of(name) for name in ("accuracy", "robust-0", "robust-256", "robust-", "robust-8x")] == [
        None
    ] * 5
    check_metric("robust-1")
    wrong: Any
    for wrong in ("robust-N", "robust-0", "robust"):
        with pytest.raises(ConfigurationError, match=r"robust-N|robust-8"):
            check_metric(wrong)
