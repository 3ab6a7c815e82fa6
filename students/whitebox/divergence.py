"""How far a student's distribution over the next token is from a teacher's: pure functions of logits.

    forward_kl(student, teacher, temperature=2.0)      # student, teacher: logits (N, V)

Each returns the *sum* over the N positions, a scalar tensor; only the trainer divides, by the tokens of the whole
step of the optimiser. With temperature T both distributions are softmax(logits / T), and the sum is multiplied by T²
(Hinton et al. 2015, arXiv:1503.02531), so that the gradient keeps its size as T changes. The factor is in the
gradient, not in the printed loss alone.

Numbers in half precision are widened to float32 before anything is exponentiated; float64 stays. The teacher's side
has no gradient. A teacher's probability of exactly 0 (a logit of −inf) is allowed in `forward_kl` and `jsd`; the
reverse direction is infinite there.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple


def log_softmax(logits: Any, temperature: float = 1.0) -> Any:
    """log softmax(logits / T) over the last axis, in float32 or better."""
    import torch

    wide = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
    return torch.log_softmax(wide / temperature, -1)


def cross_entropy(student: Any, labels: Any) -> Any:
    """−Σ log q(label), the hard targets. `student`: logits (N, V); `labels`: (N,)."""
    return -log_softmax(student).gather(-1, labels[:, None]).sum()


def forward_kl(student: Any, teacher: Any, temperature: float = 1.0) -> Any:
    """T² Σ KL(p‖q), p the teacher's distribution and q the student's. It makes the student cover all that the teacher
    may say. Both (N, V)."""
    p, q = _both(student, teacher, temperature)
    return temperature**2 * _kl(p, q)


def reverse_kl(student: Any, teacher: Any, temperature: float = 1.0) -> Any:
    """T² Σ KL(q‖p): the student is free to keep to a part of what the teacher may say (Gu et al. 2023,
    arXiv:2306.08543). Both (N, V)."""
    p, q = _both(student, teacher, temperature)
    return temperature**2 * _kl(q, p)


def jsd(student: Any, teacher: Any, beta: float, temperature: float = 1.0) -> Any:
    """T² Σ β KL(p‖m) + (1−β) KL(q‖m) with m = β p + (1−β) q, 0 < β < 1: the generalised Jensen-Shannon divergence
    (Agarwal et al. 2023, arXiv:2306.13649, eq. 1). Divided by β it nears the forward KL as β → 0, by 1−β the reverse
    one as β → 1. Both (N, V)."""
    p, q = _both(student, teacher, temperature)
    return temperature**2 * (beta * _kl_to_mixture(p, q, beta) + (1 - beta) * _kl_to_mixture(q, p, 1 - beta))


def skew_kl(student: Any, teacher: Any, alpha: float, temperature: float = 1.0) -> Any:
    """T² Σ KL(p‖α p + (1−α) q), 0 ≤ α < 1: the forward KL with a gradient that stays bounded where the student says
    what the teacher would not (Ko et al. 2024, arXiv:2402.03898, eq. 4). Both (N, V)."""
    p, q = _both(student, teacher, temperature)
    return temperature**2 * _kl_to_mixture(p, q, alpha)


def skew_reverse_kl(student: Any, teacher: Any, alpha: float, temperature: float = 1.0) -> Any:
    """T² Σ KL(q‖α q + (1−α) p), 0 ≤ α < 1 (the same paper). With α above 0 it is finite wherever the teacher is
    sure. Both (N, V)."""
    p, q = _both(student, teacher, temperature)
    return temperature**2 * _kl_to_mixture(q, p, alpha)


def sampled_reverse_kl(student: Any, teacher: Any, labels: Any) -> Any:
    """Σ KL(q‖p) from one token a position, `labels` (N,), drawn from the student's own q at T = 1.

    The value is Σ log q(y) − log p(y), the gradient Σ (log q(y) − log p(y)) ∇log q(y) with the difference held fixed
    (the score function): the means of both over y ~ q are the value and the gradient of `reverse_kl`. What others
    take as a loss is not: the gradient of log q − log p itself has the mean 0, and that of Schulman's k3, which is
    r − 1 − log r with r = p/q, the mean of the *forward* KL's, though its value is unbiased
    (http://joschu.net/blog/kl-approx.html). His k2, half the square of the difference, has this gradient and a biased
    value. Both (N, V)."""
    p, q = _both(student, teacher, 1.0)
    log_q = q.gather(-1, labels[:, None])
    gap = (log_q - p.gather(-1, labels[:, None])).detach()
    # (log q − its own value) is 0 and carries the gradient.
    return (gap + gap * (log_q - log_q.detach())).sum()


def top_k_kl(student: Any, ids: Any, log_p: Any, log_tail: Any, temperature: float = 1.0) -> Any:
    """T² Σ KL between distributions over the teacher's K likeliest tokens and all others as one outcome, the tail.

    `student`: logits (N, V); `ids`: (N, K), no id twice in a row; `log_p`: (N, K), the teacher's log-probabilities of
    them at this temperature; `log_tail`: (N,), that of all others together, −inf for none (see `top_k`).

    It is never negative, at most the full forward KL, and rises with K (the log sum inequality); with K = V it is the
    full one. Without the tail nothing would hold down the student's probability of all other tokens.
    """
    return temperature**2 * sum(_kl(p, q) for p, q in _outcomes(student, ids, log_p, log_tail, temperature))


def top_k_skew_kl(student: Any, ids: Any, log_p: Any, log_tail: Any, alpha: float, temperature: float = 1.0) -> Any:
    """T² Σ KL(p‖α p + (1−α) q) between the distributions of `top_k_kl`, with the same laws: a mixture of whole
    distributions is a mixture of their outcomes."""
    sides = _outcomes(student, ids, log_p, log_tail, temperature)
    return temperature**2 * sum(_kl_to_mixture(p, q, alpha) for p, q in sides)


def _outcomes(student: Any, ids: Any, log_p: Any, log_tail: Any, temperature: float) -> list[tuple[Any, Any]]:
    """Log-probabilities of teacher and student, of the K tokens and of the tail."""
    wide = log_softmax(student, temperature)
    log_p, log_tail = log_p.to(wide.dtype), log_tail.to(wide.dtype)
    found = [(log_p, wide.gather(-1, ids))]
    if ids.shape[-1] < student.shape[-1]:
        # Summed over the others: 1 − Σ would leave nothing but rounding where they hold little.
        found.append((log_tail, wide.scatter(-1, ids, -math.inf).logsumexp(-1)))
    return found


class TopK(NamedTuple):
    """A teacher's K likeliest tokens: `ids`, `log_p` (N, K); `log_tail`: (N,), of all others together."""

    ids: Any
    log_p: Any
    log_tail: Any


def top_k(teacher: Any, k: int, temperature: float = 1.0) -> TopK:
    """Of logits (N, V), exactly, at this temperature. `k`: at most V."""
    p = log_softmax(teacher.detach(), temperature)
    log_p, ids = p.topk(k, -1)
    return TopK(ids, log_p, p.scatter(-1, ids, -math.inf).logsumexp(-1))


def _both(student: Any, teacher: Any, temperature: float) -> tuple[Any, Any]:
    """Log-probabilities of the teacher (without gradient) and of the student."""
    return log_softmax(teacher.detach(), temperature), log_softmax(student, temperature)


def _kl(p: Any, q: Any) -> Any:
    """Σ p (log p − log q) from log-probabilities; where p is 0 it adds nothing, as its limit does."""
    import torch

    return torch.where(p > -math.inf, p.exp() * (p - q), 0.0).sum()


def _kl_to_mixture(p: Any, q: Any, share: float) -> Any:
    """KL(p‖share · p + (1 − share) · q), from log-probabilities.

    log m − log p is log(1 + c (eᵘ − 1)), with c = 1 − share and u = log q − log p. Written like that it keeps its
    digits where p and m are close; log m − log p as a difference loses them. The half with u > 0 is brought to e⁻ᵘ,
    which cannot overflow.
    """
    import torch

    c, u = 1 - share, q - p
    below, above = u.clamp(max=0), u.relu()
    gap = torch.log1p(c * torch.expm1(below)) + above + torch.log1p((1 - c) * torch.expm1(-above))
    return -torch.where(p > -math.inf, p.exp() * gap, 0.0).sum()
