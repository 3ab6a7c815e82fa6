"""Divergences against formulas written out in float64, their gradients against finite differences, and the laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stillroom.students.whitebox import divergence as d

N, V = 5, 11
Array = Any
CLOSE = 1e-6
"""Of the loss and of the gradient's norm, in float32."""
ROUNDING = 1.2e-7
"""Nats a position, before T²: the spacing of float32 at 1, which a log-probability is rounded to. The exponentials of
CPUs with AVX-512 use all of it."""


def softmax(logits: Array, temperature: float) -> Array:
    scaled = np.exp(logits / temperature - (logits / temperature).max(-1, keepdims=True))
    return scaled / scaled.sum(-1, keepdims=True)


def kl(p: Array, q: Array) -> float:
    """Written out, place by place."""
    return float(sum(a * (math.log(a) - math.log(b)) for a, b in zip(p.ravel(), q.ravel(), strict=True) if a > 0))


def by_hand(kind: str, student: Array, teacher: Array, t: float, share: float, k: int) -> float:
    p, q = softmax(teacher, t), softmax(student, t)
    if kind == "forward":
        return t * t * kl(p, q)
    if kind == "reverse":
        return t * t * kl(q, p)
    if kind == "jsd":
        m = share * p + (1 - share) * q
        return t * t * (share * kl(p, m) + (1 - share) * kl(q, m))
    if kind == "skew":
        return t * t * kl(p, share * p + (1 - share) * q)
    if kind == "skew_reverse":
        return t * t * kl(q, share * q + (1 - share) * p)
    total = 0.0
    for row in range(len(p)):
        head = np.argsort(-p[row])[:k]
        rest = np.setdiff1d(np.arange(V), head)
        total += kl(np.append(p[row, head], p[row, rest].sum()), np.append(q[row, head], q[row, rest].sum()))
    return t * t * total


def ours(kind: str, student: Any, teacher: Any, t: float, share: float, k: int) -> Any:
    if kind == "top_k":
        return d.top_k_kl(student, *d.top_k(teacher, k, t), temperature=t)
    simple: dict[str, Callable[..., Any]] = {"forward": d.forward_kl, "reverse": d.reverse_kl}
    if kind in simple:
        return simple[kind](student, teacher, t)
    skewed = {"jsd": d.jsd, "skew": d.skew_kl, "skew_reverse": d.skew_reverse_kl}
    return skewed[kind](student, teacher, share, t)


TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
CELLS = [
    *product(("forward", "reverse"), TEMPERATURES, (0.5,), (V,)),
    *product(("jsd", "skew", "skew_reverse"), TEMPERATURES, (0.1, 0.5, 0.9), (V,)),
    *product(("top_k",), TEMPERATURES, (0.5,), (1, 3, V - 1, V)),
]


def drawn(seed: int = 0, scale: float = 2.0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    # as float32 holds them, so that both sides start from the same numbers
    return tuple(random.normal(size=(N, V), scale=scale).astype(np.float32).astype(np.float64) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize(("kind", "t", "share", "k"), CELLS)
def test_loss_and_gradient_are_those_of_float64(kind: str, t: float, share: float, k: int) -> None:
    student, teacher = drawn()
    value = by_hand(kind, student, teacher, t, share, k)
    gradient, step = np.zeros_like(student), 1e-5
    for at in np.ndindex(student.shape):
        moved = [student.copy(), student.copy()]
        moved[0][at] += step
        moved[1][at] -= step
        high, low = (by_hand(kind, side, teacher, t, share, k) for side in moved)
        gradient[at] = (high - low) / (2 * step)
    logits = torch.tensor(student, dtype=torch.float32, requires_grad=True)
    loss = ours(kind, logits, torch.tensor(teacher, dtype=torch.float32), t, share, k)
    loss.backward()
    assert logits.grad is not None
    assert float(loss.detach()) == pytest.approx(value, rel=CLOSE, abs=ROUNDING * N * t * t)
    assert np.linalg.norm(logits.grad.numpy() - gradient) <= CLOSE * np.linalg.norm(gradient) + ROUNDING * N * t * t


def test_at_least_48_cells() -> None:
    assert len(CELLS) >= 48


def test_cross_entropy_is_the_negative_log_likelihood_of_the_labels() -> None:
    student, _ = drawn()
    labels = [3, 0, 10, 7, 3]
    expected = -sum(math.log(softmax(student, 1.0)[row, label]) for row, label in enumerate(labels))
    found = d.cross_entropy(torch.tensor(student, dtype=torch.float32), torch.tensor(labels))
    assert float(found) == pytest.approx(expected, rel=CLOSE)


# -- laws ---------------------------------------------------------------------------------------------------------

SIMPLE = ("forward", "reverse", "jsd", "skew", "skew_reverse", "top_k")


@given(st.integers(0, 10_000), st.sampled_from(SIMPLE), st.sampled_from(TEMPERATURES), st.floats(0.1, 20.0))
def test_never_negative_and_zero_for_the_same(seed: int, kind: str, t: float, scale: float) -> None:
    student, teacher = (torch.tensor(side) for side in drawn(seed, scale))
    assert float(ours(kind, student, teacher, t, 0.3, 3)) > 0
    assert float(ours(kind, teacher, teacher, t, 0.3, 3)) == pytest.approx(0.0, abs=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(TEMPERATURES))
def test_top_k_with_its_tail_rises_to_the_full_kl(seed: int, t: float) -> None:
    student, teacher = (torch.tensor(side) for side in drawn(seed))
    found = [float(ours("top_k", student, teacher, t, 0, k)) for k in range(1, V + 1)]
    full = float(d.forward_kl(student, teacher, t))
    assert all(low <= high + 1e-12 for low, high in pairwise(found))
    assert found[-1] == pytest.approx(full, rel=1e-12)
    assert found[0] < full


def test_the_tail_holds_the_students_other_tokens_down() -> None:
    """Renormalised over its top k, the same teacher would not mind what the student puts elsewhere."""
    teacher = torch.tensor([[4.0, 3.0, -3.0, -3.0]], dtype=torch.float64)
    modest = torch.tensor([[4.0, 3.0, -3.0, -3.0]], dtype=torch.float64)
    loose = torch.tensor([[4.0, 3.0, 5.0, 5.0]], dtype=torch.float64, requires_grad=True)
    kept = d.top_k(teacher, 2)
    assert float(d.top_k_kl(modest, *kept)) == pytest.approx(0, abs=1e-12)
    d.top_k_kl(loose, *kept).backward()
    assert loose.grad is not None
    assert (loose.grad[0, 2:] > 0.1).all()  # downhill is down


def test_temperature_squared_is_in_the_gradient() -> None:
    """For close distributions the gradient at T is T² / T² / V of the logits' difference: it does not shrink."""
    random = torch.Generator().manual_seed(1)
    teacher = torch.randn(N, V, generator=random, dtype=torch.float64)
    sizes = []
    for t in (50.0, 100.0):
        student = (teacher + 0.01 * torch.randn(N, V, generator=random, dtype=torch.float64)).requires_grad_()
        random.manual_seed(2)
        d.forward_kl(student, teacher, t).backward()
        assert student.grad is not None
        centred = (student - teacher).detach()
        centred = (centred - centred.mean(-1, keepdim=True)) / V
        sizes.append(float(student.grad.norm() / centred.norm()))
    assert sizes == pytest.approx([1.0, 1.0], rel=0.05)


def test_jsd_nears_both_kls_at_its_ends() -> None:
    student, teacher = (torch.tensor(side) for side in drawn())
    small = 1e-7
    forward, reverse = d.jsd(student, teacher, small) / small, d.jsd(student, teacher, 1 - small) / small
    assert float(forward) == pytest.approx(float(d.forward_kl(student, teacher)), rel=1e-5)
    assert float(reverse) == pytest.approx(float(d.reverse_kl(student, teacher)), rel=1e-5)


def test_a_token_that_the_teacher_rules_out_is_no_trouble() -> None:
    student = torch.zeros(1, 4, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0, -math.inf, -math.inf]])
    total = d.forward_kl(student, teacher) + d.jsd(student, teacher, 0.5) + d.top_k_kl(student, *d.top_k(teacher, 2))
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_anything_is_exponentiated(dtype: torch.dtype) -> None:
    student, teacher = (torch.tensor(side).to(dtype) for side in drawn(scale=10.0))
    wide = d.forward_kl(student.double(), teacher.double())
    assert float(d.forward_kl(student, teacher)) == pytest.approx(float(wide), rel=CLOSE)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = (torch.tensor(side, requires_grad=True) for side in drawn())
    for kind in SIMPLE:
        ours(kind, student, teacher, 2.0, 0.5, 3).backward()
    assert teacher.grad is None


def test_generalised_jsd_agrees_with_trl() -> None:
    """The published code as an oracle: GKD's, whose β is the share of the teacher too; it has no T²."""
    gkd = pytest.importorskip("trl.experimental.gkd")
    student, teacher = (torch.tensor(side) for side in drawn())
    for beta, t in product((0.1, 0.5, 0.9), (1.0, 2.0)):
        theirs = gkd.GKDTrainer.generalized_jsd_loss(
            student[None], teacher[None], beta=beta, temperature=t, reduction="sum"
        )
        assert float(d.jsd(student, teacher, beta, t)) == pytest.approx(float(theirs) * t * t, rel=1e-9)


# -- the estimate from samples ------------------------------------------------------------------------------------


def expected_over_samples(make: Any) -> tuple[float, Any]:
    """The mean of a loss and of its gradient over every token that may be drawn, each as often as the student says
    it; exhaustively, in float64."""
    torch.manual_seed(3)
    student = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
    teacher = 2 * torch.randn(1, 7, dtype=torch.float64)
    q = student.detach().softmax(-1)[0]
    value, gradient = 0.0, torch.zeros(1, 7, dtype=torch.float64)
    for token in range(7):
        loss = make(student, teacher, torch.tensor([token]))
        value += float(q[token]) * float(loss.detach())
        gradient += q[token] * torch.autograd.grad(loss, student)[0]
    return value, gradient


def exact(which: Any) -> tuple[float, Any]:
    torch.manual_seed(3)
    student = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
    teacher = 2 * torch.randn(1, 7, dtype=torch.float64)
    loss = which(student, teacher)
    return float(loss.detach()), torch.autograd.grad(loss, student)[0]


def test_sampled_reverse_kl_has_the_value_and_the_gradient_of_the_reverse_kl_in_the_mean() -> None:
    value, gradient = expected_over_samples(d.sampled_reverse_kl)
    true, direction = exact(d.reverse_kl)
    assert value == pytest.approx(true, rel=1e-12)
    assert torch.allclose(gradient, direction, rtol=1e-10, atol=1e-14)


def _gap(student: Any, teacher: Any, labels: Any) -> Any:
    return (student.log_softmax(-1) - teacher.log_softmax(-1)).gather(-1, labels[:, None]).sum()


def test_what_others_take_as_a_loss_has_another_gradient_in_the_mean() -> None:
    """Schulman's k1 has none, k3 that of the forward KL, both with an unbiased value; k2 the right gradient, with a
    biased value."""
    true, direction = exact(d.reverse_kl)
    _, forward = exact(d.forward_kl)
    value, gradient = expected_over_samples(_gap)
    assert value == pytest.approx(true)
    assert gradient.norm() < 1e-12
    value, gradient = expected_over_samples(lambda *given: (-_gap(*given)).exp() - 1 + _gap(*given))
    assert value == pytest.approx(true)
    assert torch.allclose(gradient, forward, rtol=1e-10, atol=1e-14)
    assert not torch.allclose(gradient, direction, rtol=0.1)
    value, gradient = expected_over_samples(lambda *given: _gap(*given) ** 2 / 2)
    assert value != pytest.approx(true, rel=0.05)
    assert torch.allclose(gradient, direction, rtol=1e-10, atol=1e-14)


def test_sampled_reverse_kl_sums_over_positions_and_gives_the_teacher_no_gradient() -> None:
    torch.manual_seed(5)
    student = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 9, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 8, 0, 3])
    whole = d.sampled_reverse_kl(student, teacher, labels)
    parts = [d.sampled_reverse_kl(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1]) for i in range(4)]
    assert float(whole.detach()) == pytest.approx(sum(float(part.detach()) for part in parts))
    assert float(whole.detach()) == pytest.approx(float(_gap(student, teacher, labels).detach()))
    whole.backward()
    assert teacher.grad is None
