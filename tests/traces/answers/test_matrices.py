"""Matrices and vectors, worked out entry by entry."""

from __future__ import annotations

import pytest

from stillroom.traces.answers._matrices import as_one_table
from stillroom.traces.answers.compare import compare
from stillroom.traces.answers.limits import Spent, allowance
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.values import Rules

M, N = r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}x&1\\0&x\end{pmatrix}"


@pytest.mark.parametrize(
    ("formula", "same"),
    [
        (f"{M}+{M}", r"\begin{pmatrix}2&4\\6&8\end{pmatrix}"),
        (f"{M}^2", r"\begin{pmatrix}7&10\\15&22\end{pmatrix}"),
        (f"{M}^0", r"\begin{pmatrix}1&0\\0&1\end{pmatrix}"),
        (rf"{M}^\top", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
        (f"{M}^{{-1}}", r"\begin{pmatrix}-2&1\\\frac32&-\frac12\end{pmatrix}"),
        (f"{N}^3", r"\begin{pmatrix}x^3&3x^2\\0&x^3\end{pmatrix}"),
        (rf"\frac{{{M}}}{{2}}", r"\begin{pmatrix}\frac12&1\\\frac32&2\end{pmatrix}"),
        (r"(1,2)^T", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (rf"\det {M}", "-2"),
        (rf"|{N}|", "x^2"),
        (rf"\operatorname{{tr}} {M}", "5"),
        (r"\begin{pmatrix}1&2\end{pmatrix}\begin{pmatrix}3\\4\end{pmatrix}", "11"),
        ("(1,2)-3(0,1)", "(1,-1)"),
        (r"\frac12(2,4,x)", r"(1,2,\frac{x}{2})"),
    ],
)
def test_worked_out(formula: str, same: str) -> None:
    assert compare(read(formula), read(same), Rules()).same is True
    assert compare(read(same), read(formula), Rules()).same is True


@pytest.mark.parametrize(
    ("formula", "other"),
    [
        ("(1,2)(3,4)", "11"),
        ("t(1,2)", "(t,2t)"),  # may be a function
        (f"{M}+1", f"{M}"),
        (f"{M}^x", f"{M}"),
        (r"\begin{pmatrix}1&2\\2&4\end{pmatrix}^{-1}", f"{M}"),
        (f"{M}", "A"),
        (rf"\operatorname{{rref}}({M})", "42"),
        (r"\operatorname{zeros}(100,100)", "42"),
        (r"\begin{pmatrix}1\\0\\0\end{pmatrix}\times\begin{pmatrix}0\\1\\0\end{pmatrix}", "(0,0,1)"),
    ],
)
def test_what_is_not_worked_out_is_open(formula: str, other: str) -> None:
    assert compare(read(formula), read(other), Rules()).same is None


@pytest.mark.parametrize("formula", [N * 40, f"{N}^{{99}}", f"({N}^9+{N})^9"])
def test_what_would_grow_without_bound_is_not_built(formula: str) -> None:
    node = read(formula)
    with pytest.raises(Spent), allowance(100_000):
        as_one_table(node)


def test_powers_of_numbers_are_worked_out_as_numbers() -> None:
    fibonacci = r"\begin{pmatrix}1&1\\1&0\end{pmatrix}"
    with allowance(100_000):
        table = as_one_table(read(f"{fibonacci}^{{600}}"))
    assert table is not None
    one, other = 0, 1
    for _ in range(600):
        one, other = other, one + other
    assert table.rows[0][1].args[0] == one
