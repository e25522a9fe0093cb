"""LaTeX formulas as lines of plain letters, as a terminal shows them: θ ← θ - lr ŝ / (√r̂ + ε)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eta": "η", "theta": "θ", "kappa": "κ",
    "lambda": "λ", "mu": "μ", "nu": "ν", "pi": "π", "rho": "ρ", "sigma": "σ", "phi": "φ", "varphi": "φ", "psi": "ψ",
    "Delta": "Δ", "Lambda": "Λ", "Sigma": "Σ", "leftarrow": "←", "top": "ᵀ", "|": "‖", "sim": "~", "le": "≤", "ge": "≥",
    "in": "∈", "pm": "±", "cdot": "·", "dots": "…", "ell": "ℓ", "nabla": "∇", "partial": "∂", "sum": "Σ", "prod": "Π",
    "lfloor": "⌊", "rfloor": "⌋", "langle": "⟨", "rangle": "⟩", "{": "{", "}": "}", "bmod": " mod ", "varepsilon": "ε",
    "quad": "   ", ",": " ", ";": " ", "\\": "; ", "left": "", "right": "", "bigl": "", "bigr": "", "textstyle": "",
}  # fmt: skip
ACCENTS = {"hat": "\u0302", "bar": "\u0304", "overline": "\u0304", "tilde": "\u0303"}
UPRIGHT = ("text", "mathrm", "mathcal")  #: whose argument is taken as it is
RAISED = str.maketrans("0123456789+-=()abcdefghijklmnoprstuvwxyzTᵀ*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀᵀ*")
LOWERED = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
LONGEST = 4  #: signs that are raised or lowered
_GAP = "\0"  #: behind the name of a function: a blank, but before a bracket
_BLANKS = f" {_GAP}"
_TOKEN = re.compile(r"\\(?:begin|end)\{\w+\}|\\[A-Za-z]+ ?|\\.|\s+|.", re.DOTALL)


def readable(text: str) -> str:
    """A text in which formulas stand between dollars, with them as `plain`; those between $$ on lines of their own."""
    pieces = re.split(r"\$\$(.+?)\$\$", text, flags=re.DOTALL)
    blocks = [_shown(piece) if i % 2 else _inline(piece) for i, piece in enumerate(pieces)]
    return "\n".join(block for block in blocks if block)


def plain(latex: str) -> str:
    r"""A formula in letters of Unicode: `\hat s / (1-\beta_1^t)` is ŝ / (1-β₁ᵗ).

    What has no letter of its own stays in plain signs: x_{best}, (a + b)/c, √(a + b).
    """
    row = re.sub(rf"{_GAP} ?(?=[(\[{{|_^])", "", _row(iter(_TOKEN.findall(latex)))).replace(_GAP, " ")
    return re.sub(r" +", " ", row).strip()


def _shown(formula: str) -> str:
    parts = re.split(r"\\quad", " ".join(formula.split()))
    return "\n".join(f"    {line.lstrip(', ')}" for part in parts if (line := plain(part).rstrip()))


def _inline(text: str) -> str:
    return re.sub(r"\$([^$]+)\$", lambda found: plain(found[1]), " ".join(text.split()))


def _row(tokens: Iterator[str], end: str = "") -> str:
    """What stands before the end, `}` or that of the text."""
    parts: list[str] = []
    for token in tokens:
        if token == end:
            break
        if token in "^_":
            given = _argument(tokens)
            place = given.strip(_BLANKS)
            table = RAISED if token == "^" else LOWERED
            has_all = len(place) <= LONGEST and all(ord(sign) in table for sign in place)
            parts.append(place.translate(table) if has_all else f"{token}{_bound(place)}")
            parts.append(" " * given.endswith(" "))
        elif re.match(r"\\(begin|end)\{", token):
            parts.append("(" if token.startswith(r"\begin") else ")")
        else:
            parts.append(_told(token, tokens))
    return "".join(parts)


def _told(token: str, tokens: Iterator[str]) -> str:
    if token == "{":
        return _row(tokens, "}")
    if not token.startswith("\\"):
        return ", " if token == "&" else " " if token.isspace() else token
    name, blank = token[1:].rstrip() or " ", " " * token.endswith(" ")
    if name in ("frac", "tfrac"):
        return f"{_bound(_atom(tokens))}/{_bound(_atom(tokens))}"
    if name == "sqrt":
        return f"√{_bound(_atom(tokens))}"
    if name in ACCENTS:
        letters = _argument(tokens)
        accented = "".join(f"{letter}{ACCENTS[name]}" for letter in letters.strip(_BLANKS))
        return unicodedata.normalize("NFC", accented) + " " * letters.endswith(" ")
    if name in UPRIGHT:
        return _atom(tokens)
    if name in SYMBOLS:
        return SYMBOLS[name] + blank * bool(SYMBOLS[name].strip())
    return f"{name}{_GAP}"  # max, log, cos: words already


def _argument(tokens: Iterator[str]) -> str:
    """What comes next: one sign, a command, or what stands in braces; with the blank behind it."""
    for token in tokens:
        if not token.isspace():
            return _told(token, tokens)
    return ""


def _atom(tokens: Iterator[str]) -> str:
    return _argument(tokens).strip(_BLANKS)


def _bound(text: str) -> str:
    """A text in brackets, unless it is one word."""
    return text if re.fullmatch(r"[\w.∂∇ℓ\u0300-\u036f⁰-₟²³¹]*", text) else f"({text})"
