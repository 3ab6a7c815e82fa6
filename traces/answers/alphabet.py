r"""The alphabet of answers: which commands, names and signs mean what, in LaTeX, plain text and Unicode.

Data alone. `OPERATORS` maps a command to what it does, `CHARACTERS` a sign of Unicode to how LaTeX or ASCII writes
it.

>>> OPERATORS["leqslant"], CHARACTERS["≤"]
('<=', '<=')
"""

from __future__ import annotations


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


FUNCTIONS = _names(
    "abs acos arccos arccosh arccot arccsc arcsec arcsin arcsinh arctan arctanh arg asin atan binomial cbrt",
    "ceil cos cosh cot coth csc deg det dim exp factorial floor gamma gcd Im lcm lg ln log max min rank Re",
    "sec sgn sign sin sinh sqrt tan tanh tr",
)
"""Functions that take an argument."""
ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "sign": "sgn", "cbrt": "cbrt", "tg": "tan",
    "ctg": "cot", "arctg": "arctan", "arcctg": "arccot", "cosec": "csc", "sh": "sinh", "ch": "cosh",
    "th": "tanh",
}  # fmt: skip
"""Other spellings of functions."""
GREEK = _names(
    "aleph alpha beta chi Delta delta ell epsilon eta Gamma gamma hbar Im iota kappa Lambda lambda mu nabla",
    "nu Omega omega partial Phi phi Pi Psi psi Re rho Sigma sigma tau Theta theta Upsilon upsilon varepsilon",
    "varphi varrho vartheta Xi xi zeta",
)
"""Commands that are letters."""
OPERATORS = {
    "cdot": "*", "cdotp": "*", "times": "*", "ast": "*", "div": "/", "bullet": "*", "pm": "pm", "mp": "mp", "le":
    "<=", "leq": "<=", "leqslant": "<=", "leqq": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=",
    "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "doteq": "~", "sim": "~",
    "thickapprox": "~", "in": "in", "cup": "cup", "cupdot": "cup", "bigcup": "cup", "cap": "cap",
    "setminus": "minus", "backslash": "minus", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|",
    "Vert": "||", "|": "||", "colon": ":", "equiv": "equiv", "pmod": "pmod", "mod": "mod", "bmod": "mod",
    "infty": "infinity", "frac": "frac", "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "sqrt": "sqrt",
    "binom": "binom", "dbinom": "binom", "tbinom": "binom", "choose": "choose", "overline": "overline",
    "bar": "overline", "emptyset": "empty", "varnothing": "empty", "ldots": "dots", "cdots": "dots",
    "dots": "dots", "dotsc": "dots", "dotsb": "dots", "vdots": "dots", "ddots": "dots", "forall": "forall",
    "exists": "exists", "to": "to", "rightarrow": "to", "Rightarrow": "implies", "implies": "implies",
    "iff": "implies", "Leftrightarrow": "implies", "langle": "(", "rangle": ")", "lfloor": "lfloor",
    "rfloor": "rfloor", "lceil": "lceil", "rceil": "rceil", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[",
    "rbrack": "]", "{": "\\{", "}": "\\}", "%": "%", "&": "&", "\\": "\\\\", 'prime': "'", "circ": "circ",
    "degree": "deg", "sum": "sum", "prod": "prod", "int": "int", "lim": "lim", "vec": "accent", "dot": "dot",
    "hat": "accent", "tilde": "accent", "widehat": "accent", "overrightarrow": "accent",
    "begin": "begin", "end": "end", "land": "and", "wedge": "and", "lor": "or",
    "vee": "or", "over": "over", "perp": "perp", "parallel": "parallel", "angle": "angle",
    "triangle": "angle", "sqsubset": "subset", "subset": "subset", "subseteq": "subset", "notin": "notin",
    "neg": "neg", "lnot": "neg", "cong": "~", "propto": "propto", "hline": "hline", "quad": " ",
    "qquad": " ", "_": "_", "#": "#",
}  # fmt: skip
DROPPED = _names(
    "bf Big big Bigg bigg Biggl biggl Biggr biggr Bigl bigl Bigr bigr boldmath cal displaystyle enspace hfill",
    "it left limits mathbin mathop mathord mathrel mathstrut medspace middle nolimits nonumber right rm",
    "scriptstyle sf strut textstyle thickspace thinspace",
    "underline large Large LARGE huge Huge small normalsize enspace square blacksquare qed",
)
"""Commands that say how to set type, and nothing else."""
TEXT = _names(
    "bm boldsymbol emph hbox mathbb mathbf mathcal mathfrak mathit mathrm mathscr mathsf mathtt mbox",
    "operatorname text textbf textit textnormal textrm textsf texttt",
)
"""Commands whose argument is words."""
CHARACTERS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "—": "-", "＋": "+", "－": "-", "．": ".", "，": ",", "（": "(",
    "）": ")", "；": ";", "＝": "=", "＞": ">", "＜": "<", "［": "[", "］": "]", "｛": "\\{", "｝": "\\}", "：": ":",
    "％": "%", "×": "*", "·": "*", "⋅": "*", "∙": "*", "•": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/",
    "π": "\\pi ", "𝜋": "\\pi ", "∞": "\\infty ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "≤": "<=",
    "≥": ">=", "⩽": "<=", "⩾": ">=", "≦": "<=", "≧": ">=", "≠": "!=", "≈": "\\approx ", "≡": "\\equiv ",
    "°": "\\degree ", "º": "\\degree ", "±": "\\pm ", "∓": "\\mp ", "∀": "\\forall ", "∃": "\\exists ",
    "½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}", "⅓": "\\frac{1}{3}", "⅔": "\\frac{2}{3}",
    "⅛": "\\frac{1}{8}", "√": "\\sqrt ", "∅": "\\emptyset ", "…": "\\dots ", "⋯": "\\dots ", '′': "'",
    '’': "'", "→": "\\to ", "∧": "\\land ", "∨": "\\lor ", "∖": "\\setminus ", "|": "|", "∣": "|", "⟨": "(",
    "⟩": ")", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ", "∠": "\\angle ",
    "Ⅰ": "I", "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "ε": "\\epsilon ",
    "θ": "\\theta ", "λ": "\\lambda ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "τ": "\\tau ",
    "φ": "\\phi ", "ϕ": "\\phi ", "ω": "\\omega ", "Δ": "\\Delta ", "Ω": "\\Omega ", "∑": "\\sum ",
    "∫": "\\int ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}",
    "ℂ": "\\mathbb{C}", "\xa0": " ", "\u2009": " ", "\u202f": " ", "\u2002": " ", "\u2003": " ",
    "\u3000": " ", "\u200b": "", "\u2060": "", "\ufeff": "", '“': '"', '”': '"', "₀": "_{0}", "₁": "_{1}",
    "₂": "_{2}", "₃": "_{3}", "₄": "_{4}", "₅": "_{5}", "₆": "_{6}", "₇": "_{7}", "₈": "_{8}", "₉": "_{9}",
    "ₙ": "_{n}",
}  # fmt: skip
CHARACTERS |= {chr(0xFF10 + digit): str(digit) for digit in range(10)}  # full width
