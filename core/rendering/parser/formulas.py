"""Converts LaTeX formulas to plain Unicode if that is exact."""

from __future__ import annotations

import re
from functools import lru_cache

from core.regex import regex

_LONGEST = 400
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_TOKEN = regex(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_SIGNS = dict(part.split("=", 1) for part in (
    "alpha=α beta=β gamma=γ delta=δ epsilon=ϵ varepsilon=ε zeta=ζ eta=η theta=θ vartheta=ϑ iota=ι "
    "kappa=κ lambda=λ mu=μ nu=ν xi=ξ pi=π rho=ρ sigma=σ varsigma=ς tau=τ upsilon=υ phi=ϕ varphi=φ "
    "chi=χ psi=ψ omega=ω Gamma=Γ Delta=Δ Theta=Θ Lambda=Λ Xi=Ξ Pi=Π Sigma=Σ Upsilon=Υ Phi=Φ Psi=Ψ "
    "Omega=Ω times=× cdot=⋅ div=÷ pm=± mp=∓ ast=∗ star=⋆ circ=∘ bullet=∙ oplus=⊕ otimes=⊗ le=≤ "
    "leq=≤ ge=≥ geq=≥ ne=≠ neq=≠ ll=≪ gg=≫ approx=≈ equiv=≡ sim=∼ simeq=≃ cong=≅ propto=∝ infty=∞ "
    "partial=∂ nabla=∇ sum=∑ prod=∏ int=∫ iint=∬ oint=∮ in=∈ notin=∉ ni=∋ subset=⊂ subseteq=⊆ "
    "supset=⊃ supseteq=⊇ cup=∪ cap=∩ setminus=∖ emptyset=∅ varnothing=∅ forall=∀ exists=∃ neg=¬ "
    "lnot=¬ land=∧ wedge=∧ lor=∨ vee=∨ to=→ rightarrow=→ leftarrow=← gets=← leftrightarrow=↔ "
    "Rightarrow=⇒ implies=⟹ Leftarrow=⇐ Leftrightarrow=⇔ iff=⟺ mapsto=↦ uparrow=↑ downarrow=↓ "
    "ldots=… dots=… cdots=⋯ hbar=ℏ ell=ℓ Re=ℜ Im=ℑ aleph=ℵ angle=∠ perp=⊥ parallel=∥ mid=∣ "
    "langle=⟨ rangle=⟩ lfloor=⌊ rfloor=⌋ lceil=⌈ rceil=⌉ degree=° prime=′ therefore=∴ because=∵ "
    "top=⊤ bot=⊥ vdash=⊢ models=⊨ triangle=△ lbrace={ rbrace=} lvert=| rvert=| vert=| colon=:")
              .split())
_NAMES = frozenset("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim "
                   "max min sup inf det dim ker gcd arg deg Pr".split())
_SPACES = {",": " ", ";": " ", ":": " ", " ": " ", "quad": "  ", "qquad": "    ", "!": ""}
_UPRIGHT = frozenset(("text", "mathrm", "operatorname", "textrm", "mbox"))
_DOUBLE = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ"))
_UP = dict(zip("0123456789+-=()abcdefghijklmnoprstuvwxyzABDEGHIJKLMNOPRTUVWαβγδθφχ′∗",
               "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᴬᴮᴰᴱᴳᴴᴵᴶᴷᴸᴹᴺᴼᴾᴿᵀᵁⱽᵂᵅᵝᵞᵟᶿᵠᵡ′*")) | {"q": "",
                                                                                           "*": ""}
_DOWN = dict(zip("0123456789+-=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ"))
_ROOTS = {"": "√", "3": "∛", "4": "∜"}


class _Inexact(Exception):
    """The formula cannot be expressed in plain characters."""


@lru_cache(maxsize=256)
def shown(source: str) -> str:
    """The formula as plain Unicode, or `source` with its delimiters if that would lose something.
    """
    for start, end in _DELIMITERS:
        if (source.startswith(start) and source.endswith(end)
            and len(source) >= len(start) + len(end)):
            content = source[len(start):len(source) - len(end)].strip()
            break
    else:
        return source
    if not content or len(content) > _LONGEST or "\n\n" in content:
        return source
    try:
        return _Reader(content).all()
    except (_Inexact, IndexError, RecursionError):
        return source


class _Reader:
    __slots__ = ("tokens", "pos")

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = _TOKEN.findall(text)
        self.pos = 0

    def all(self) -> str:
        text = self._until("")
        if self.pos < len(self.tokens):
            raise _Inexact
        return text.strip()

    def _until(self, end: str) -> str:
        out = ""
        while self.pos < len(self.tokens) and self.tokens[self.pos] != end:
            piece = self._piece()
            if piece.startswith("(") and "/" in piece and not self._touches(out):
                piece = _bare(piece)
            elif piece.isspace() and out[-1:].isspace():
                continue
            out += piece
        return out

    def _touches(self, out: str) -> bool:
        """Whether something adjacent would bind more tightly than a fraction's slash."""
        following = self.tokens[self.pos] if self.pos < len(self.tokens) else " "
        return out[-1:].isalnum() or out[-1:] in (")", "√") or following[0] not in " +-=,.;:)]}<>\n"

    def _next(self) -> str:
        self.pos += 1
        return self.tokens[self.pos - 1]

    def _piece(self) -> str:
        token = self._next()
        if token[0] == "\\" and len(token) > 1:
            return self._command(token[1:])
        if token in "^_":
            return self._script(_UP if token == "^" else _DOWN)
        if token == "{":
            return self._rest_of_group()
        if token in "}&~%#\\":
            raise _Inexact
        return " " if token.isspace() else "′" if token == "'" else token

    def _rest_of_group(self) -> str:
        text = self._until("}")
        self._next()
        return text

    def _argument(self) -> str:
        while self.tokens[self.pos].isspace():
            self.pos += 1
        return self._piece().strip()

    def _script(self, signs: dict[str, str]) -> str:
        text = self._argument().replace(" ", "")
        small = [signs.get(char, "") for char in text]
        if not text or not all(small):
            raise _Inexact
        return "".join(small)

    def _command(self, name: str) -> str:
        if name in _SIGNS:
            return _SIGNS[name]
        if name in _NAMES:
            return name
        if name in _SPACES:
            return _SPACES[name]
        if name in ("{", "}", "%", "#", "&", "_", "$", "|"):
            return "‖" if name == "|" else name
        if name in ("left", "right", "bigl", "bigr", "big", "Big"):
            return self._delimiter()
        if name in _UPRIGHT:
            return self._upright()
        if name == "mathbb":
            return "".join(_exact(_DOUBLE, char) for char in self._argument())
        if name == "mathbf":
            return "".join(_bold(char) for char in self._argument())
        if name in ("frac", "dfrac", "tfrac"):
            return f"({_operand(self._argument())}/{_operand(self._argument())})"
        if name == "sqrt":
            return self._root()
        raise _Inexact

    def _delimiter(self) -> str:
        if self.tokens[self.pos] == ".":
            raise _Inexact
        return self._piece()

    def _upright(self) -> str:
        if self._next() != "{":
            raise _Inexact
        start = self.pos
        while self._next() != "}":
            pass
        words = "".join(self.tokens[start:self.pos - 1])
        if "\\" in words or "$" in words or "{" in words:
            raise _Inexact
        return words

    def _root(self) -> str:
        degree = ""
        if self.tokens[self.pos] == "[":
            self._next()
            degree = self._until("]")
            self._next()
        text = self._argument()
        return _exact(_ROOTS, degree) + (text if len(text) == 1 or text.isdigit() else f"({text})")


def _exact(table: dict[str, str], key: str) -> str:
    if key not in table:
        raise _Inexact
    return table[key]


def _bold(char: str) -> str:
    if "a" <= char <= "z":
        return chr(0x1D41A + ord(char) - ord("a"))
    if "A" <= char <= "Z":
        return chr(0x1D400 + ord(char) - ord("A"))
    if "0" <= char <= "9":
        return chr(0x1D7CE + ord(char) - ord("0"))
    raise _Inexact


def _operand(text: str) -> str:
    if not text:
        raise _Inexact
    return text if text.isalnum() else f"({text})"


def _bare(fraction: str) -> str:
    """A fraction without its parentheses, for places where nothing adjacent could seem part of it.
    """
    depth = 0
    for place, char in enumerate(fraction):
        depth += (char == "(") - (char == ")")
        if depth == 0 and place < len(fraction) - 1:
            return fraction
    return fraction[1:-1] if fraction.endswith(")") else fraction
