"""Texts of figures as a page writes them: without TeX."""

import re

_SIGNS = {
    r"\times": "×",  # noqa: RUF001
    r"\sigma": "σ",  # noqa: RUF001
    r"\eta": "η",
    r"\tau": "τ",
    r"\top": "ᵀ",
    r"\to": "→",
    r"\lfloor": "⌊",
    r"\rfloor": "⌋",
    r"\pi": "π",
    r"\log": "log",
    r"\leq": "≤",
    r"\geq": "≥",
    r"\ll": "≪",
    r"\gg": "≫",
    r"\pm": "±",
    r"\infty": "∞",
    r"\theta": "θ",
    r"\beta": "β",
    r"\lambda": "λ",
    r"\varepsilon": "ε",
    r"\epsilon": "ε",
    r"\|": "‖",
    r"\,": " ",
    r"\%": "%",
    r"\_": "_",
}

_GROUP = r"\{([^{}]*)\}"


def plain(text: str) -> str:
    r"""``text`` with its mathematics in plain letters: ``$C_\mathrm{upper}$`` is ``C_upper``."""
    parts = text.split("$")
    parts[1::2] = [_without_tex(part) for part in parts[1::2]]
    return " ".join("".join(parts).split())


def _without_tex(formula: str) -> str:
    formula = re.sub(rf"\\(?:mathrm|mathbf|mathit|text){_GROUP}", r"\1", formula)
    formula = re.sub(rf"\\frac{_GROUP}{_GROUP}", r"\1 / \2", formula)
    formula = re.sub(rf"\\sqrt{_GROUP}", r"√\1", formula)
    for sign, letter in sorted(_SIGNS.items(), key=lambda pair: -len(pair[0])):
        formula = formula.replace(sign, letter)
    return re.sub(_GROUP, r"\1", formula).replace("^*", "*")
