"""Unicode characters that people write in answers, in the forms that the grader's patterns read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# Scripts without blanks between words, and Hangul, whose particles follow a word at once.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
)
LETTER = rf"[^\W{UNSPACED}]"
"""A letter, digit or underscore of a script with blanks between words."""
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
SUPERSCRIPTS = re.compile(f"[{''.join(RAISED)}]+")
SUBSCRIPTS = re.compile(f"[{''.join(LOWERED)}]+")
REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # 42 may be shown as 24
FORMS = {
    "\u3000": " ",
    "。": ". ",
    "、": ", ",
    "「": '"',
    "」": '"',
    "『": '"',
    "』": '"',
    "【": "[",
    "】": "]",
    "〔": "(",
    "〕": ")",
    "‐": "-",
    "‑": "-",
    "‒": "-",
    "⁄": "/",
    "∕": "/",
    "٫": ".",
    "٬": ",",
    "\u2126": "Ω",
    "\u00b5": "μ",
    "\u212b": "Å",
    "℃": "°C",
    "℉": "°F",
}


def ascii_forms(text: str) -> str:
    """The text in composed form (NFC), with full-width and mathematical letters, digits of all
    scripts and CJK punctuation as ASCII, and superscripts, subscripts and fractions in LaTeX."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFC", text)
    text = SUPERSCRIPTS.sub(lambda match: _script("^", match[0], RAISED), text)
    text = SUBSCRIPTS.sub(lambda match: _script("_", match[0], LOWERED), text)
    return "".join(character if character < "\x80" else _form(character) for character in text)


def _script(mark: str, text: str, characters: Mapping[str, str]) -> str:
    found = "".join(characters[character] for character in text)
    return f"{mark}{found}" if len(found) == 1 else f"{mark}{{{found}}}"


def full_width_as_ascii(text: str) -> str:
    """The text in composed form (NFC), with full-width characters as ASCII: for comparing words,
    where a superscript is another character."""
    if text.isascii():
        return text
    return "".join(
        _narrow(character) or character for character in unicodedata.normalize("NFC", text)
    )


def _narrow(character: str) -> str | None:
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    return " " if character == "\u3000" else None


def _form(character: str) -> str:
    if (form := FORMS.get(character) or _narrow(character)) is not None:
        return form
    if (kind := unicodedata.category(character)) == "Cf" and character not in REORDERING:
        return ""  # zero-width characters
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    compatible = unicodedata.normalize("NFKC", character)
    if kind == "No" and "⁄" in compatible:  # ½
        top, bottom = compatible.split("⁄")
        return rf"\frac{{{top}}}{{{bottom}}}" if bottom else character
    if "\U0001d400" <= character <= "\U0001d7ff":  # mathematical letters and digits
        return compatible
    if "\u3380" <= character <= "\u33df":  # ㎝, ㎡
        return re.sub(r"(?<=m)([23])$", r"^\1", compatible)
    return character
