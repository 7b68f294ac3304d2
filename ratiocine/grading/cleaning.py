"""Normalisation of a mathematical answer: removes what does not change its value, such as spacing,
sizing, units, conditions and ordinals."""

from __future__ import annotations

import re

from ratiocine.grading.characters import UNSPACED, ascii_forms

REWRITES = [
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?"), ""),
    (re.compile(r"\\(?:displaystyle|limits|quad|qquad|,|!|;|:|>|~| )|~"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (
        re.compile(
            r"\\(?:mathrm|mathbf|mathit|textbf|textit|textrm|mbox|operatorname|boldsymbol)(?=\s*\{)"
        ),
        r"\\text",
    ),
    (re.compile(r"\\(?:cdot|times|ast)(?![A-Za-z])|[×·⋅∗]"), "*"),
    (re.compile(r"\\(?:le|leq|leqslant)(?![A-Za-z])"), "≤"),
    (re.compile(r"\\(?:ge|geq|geqslant)(?![A-Za-z])"), "≥"),
    (re.compile(r"\\(?:lbrace|\{)"), "\\\\{"),
    (re.compile(r"\\(?:rbrace|\})"), "\\\\}"),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\\text\s*\{\s*percent\s*\}|(?<=\d)\s*percent\b"), r"\\%"),
    (re.compile(r"÷"), "/"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\s*\{,\}\s*"), ","),
]


# Names and functions in plain text: pi/2, ln(2), sin 2x. Two letters but `pi` are a product.
PLAIN_NAMES = (
    "pi|alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|rho|sigma|tau|phi|chi|psi|omega"
    "|infinity|infty"
)
PLAIN_FUNCTIONS = (
    "arcsin|arccos|arctan|asin|acos|atan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt"
    "|cbrt"
)
IN_PLAIN_TEXT = re.compile(
    r"\\text\s*\{[^{}]*\}"
    rf"|(?<![A-Za-z\\])(?:({PLAIN_NAMES})(?![A-Za-z])"
    rf"|({PLAIN_FUNCTIONS})(?=\s*[(^_{{\d\\]|\s+[A-Za-zθπ](?![A-Za-z])))"
)
COMMANDS = {
    "infinity": r"\infty",
    "asin": r"\arcsin",
    "acos": r"\arccos",
    "atan": r"\arctan",
    "cbrt": r"\sqrt[3]",
}


def _as_command(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    return (COMMANDS.get(name) or "\\" + name) + " " if name else match[0]


DELIMITERS = ("\\$", "$", "\\(", "\\)", "\\[", "\\]")


def normal(text: str) -> str:
    """The text in one notation (`\\frac`, `*`, `^`), without math delimiters, sizing and a final
    stop."""
    text = ascii_forms(text).strip()
    text = re.sub(r"(\d) ?, ?(?:\\!\s*)+(?=\d{3}(?!\d))|(\d),\s*\\!(?=\d{3}(?!\d))", r"\1\2,", text)
    for pattern, new in REWRITES:
        text = pattern.sub(new, text)
    for delimiter in DELIMITERS:
        text = text.replace(delimiter, "")
    text = IN_PLAIN_TEXT.sub(_as_command, text)
    text = " ".join(text.split())
    return text if text.endswith("..") else text.removesuffix(".").strip()


def as_words(text: str) -> str:
    """A text as words are compared: lower case, single spaces, no article, final stop, or brackets
    around a letter."""
    text = re.sub(r"^(?:an?|the) (?=\w{3})", "", " ".join(text.casefold().split()).rstrip("."))
    return text[1:-1] if re.fullmatch(r"\([a-z]\)", text) else text


INDEX = r"\s*(\w{1,20}|\\odot|\\oplus|\\infty)\s*"
SUBSCRIPT = re.compile(
    rf"_\s*(?:\{{\s*\\text\s*\{{{INDEX}\}}\s*\}}|\{{{INDEX}\}}|(\\odot|\\oplus)(?![A-Za-z]))"
)


def indexed(text: str) -> str:
    """The text with each subscript as one token: `x_{12}` and `\\lambda_{\\text{red}}` are
    names."""
    return SUBSCRIPT.sub(lambda match: f"_«{match[1] or match[2] or match[3]}»", text)


DEGREES = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\s*(?:\\degree|°)")
ORDINAL = re.compile(
    r"(?<=\d)(?:\s*\^\s*\{?\s*(?:\\text\s*\{\s*)?(?:st|nd|rd|th)\s*\}?\s*\}?|(?:st|nd|rd|th)\b)"
)
LABEL = re.compile(r"^\\text\s*\{[^{}]*\}\s*(?=[-\d\\(])")
HEDGE = re.compile(
    r"\b(?:or|and|to|not|no|if|else|otherwise|because|minus|plus|times|half|halves|thirds?|fourths?"
    r"|quarters?|squared|cubed|more|less|fewer|least|most|out|higher|lower|above|below|wrong"
    r"|incorrect|negative|pi|i|k|invalid|impossible|maybe|perhaps|possibly)\b"
    r"|(?<![A-Za-z^{-])\d",
    re.IGNORECASE,
)
SHORT_UNIT = (
    r"(?:[kcm]m|km/h|m/s|ft|mi|yd|k?g|mg|lbs?|oz|hrs?|mins?|secs?|mph|kph|m?[lL]|sq|Å)"
    r"(?:\s*\^\s*\{?\d\}?|[²³])?"
)
UNIT_FACTOR = (
    r"[\s·*/]*(?:k?g|mol|yr|hr?|min|[kcdm]?m|[sKAJNWVLCF])(?:\s*\^\s*\{?-?\d\}?|[²³]|⁻[¹²³])"
)
IN_TEXT = r"\s*\\text\s*\{(?:[^{}]|\{[^{}]*\})*\}"
UNIT = re.compile(
    rf"(?:(?<=[\d}})])|(?<=\\pi))(?:(?:\s*[/*]?{IN_TEXT}(?:\s*\^\s*\{{?-?\d\}}?)?){{1,6}}"
    rf"|\s*\\frac\s*\{{{IN_TEXT}\s*\}}\s*\{{{IN_TEXT}\s*\}}|(?<=\d)\s*{SHORT_UNIT}(?:{UNIT_FACTOR})*"
    rf"|\s*\(?\\pmod\s*\{{?\s*\w+\s*\}}?\)?"
    rf"|(?<=\d)\s+[a-z]{{3,}}(?:(?: [a-z]+)*|(?<!sin|cos|tan|log|exp)(?:{UNIT_FACTOR})+)"
    rf"|(?<=\d)°\s*(?:\\text\s*\{{\s*[CFK]\s*\}}|[CFK])"
    rf"|(?<=\d)\s*(?:[€£¥₹₩₽₺₦₫]|(?![{UNSPACED}]*(?:[半多余或]|以[上下内]|未[满満]|分之|반))[{UNSPACED}]+"
    r"|[kM]?Ω|μ[A-Za-z]{1,2}|[Α-Ωά-ώ]{3,}|[^\W\d_A-Za-zΑ-ω][^\W\d_]*"
    r"|(?<=\s)[^\W\d_Α-ω]*[^\W\d_A-Za-zΑ-ω][^\W\d_Α-ω]*))$"
)
CURRENCY = re.compile(
    r"^(-?)\s*(?:(?:US|USD|AU|CA|NZ|HK|A|C|R)?\s*\\?\$|[€£¥₹₩₽₺₦₫]|(?:USD|EUR|GBP|INR|US)(?=\s*\d))\s*(?=[-\d.])"
)
CONDITION = re.compile(
    r"\s*,?\s*\\text\s*\{\s*,?\s*(?:for|where|if|when|provided)[^{}]*\}(?:(?!\\text)[^,=])*"
    r"(?:\\neq?(?![A-Za-z])|[≠<>≤≥])(?:(?!\\text)[^,=])*$"
    r"|\s*,?\s*\(?[A-Za-z]\s*(?:\\neq?(?![A-Za-z])|≠)\s*-?[\w\\{}/]{1,20}\)?$"
)
ELEMENT = re.compile(r"^[A-Za-z]\s*\\in\s*")


def unitless(text: str) -> str:
    """The text without a unit or condition after the value, and without the name in `x \\in [0,
    1]`."""
    text = ELEMENT.sub("", DEGREES.sub("°", ORDINAL.sub("", CONDITION.sub("", text))))
    if (label := LABEL.match(text)) and not hedged(label[0]):
        text = text[label.end() :]
    words = re.sub(
        r"\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<=[\s\d}),])(?:and|or)(?=[\s\d\\(-])", ",", text
    )
    words = re.sub(r",\s*,", ",", words)
    unit = UNIT.search(words)
    return words if unit is None or hedged(unit[0]) else words[: unit.start()]


def hedged(text: str) -> bool:
    """Whether the words in a formula change its meaning: another value, a multiple, a denial."""
    return any(
        HEDGE.search(words) for words in re.findall(r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}", text)
    )
