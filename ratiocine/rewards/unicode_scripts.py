"""The writing system of every word of a text."""

from __future__ import annotations

import re
import unicodedata

# Of languages, the writing systems by Unicode's names. Those that share one are not told apart.
OF_LANGUAGE = {
    "ar": ("ARABIC",),
    "de": ("LATIN",),
    "el": ("GREEK",),
    "en": ("LATIN",),
    "es": ("LATIN",),
    "fr": ("LATIN",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "it": ("LATIN",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL",),
    "pt": ("LATIN",),
    "ru": ("CYRILLIC",),
    "th": ("THAI",),
    "vi": ("LATIN",),
    "zh": ("CJK",),
}
UNSPACED = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "THAI",
)  # written without spaces: each letter counts as a word
COMMAND = re.compile(r"\\[A-Za-z]+")


def scripts(text: str) -> list[str]:
    """Words are runs of letters of one writing system; marks and apostrophes do not end them. Commands of LaTeX are none, nor
    are single letters, which may be the names of variables in any language."""
    found: list[str] = []
    last, length = "", 0

    def end() -> None:
        if length == 1 and last not in UNSPACED:
            found.pop()

    for letter in unicodedata.normalize("NFKC", COMMAND.sub(" ", text)):
        if last and (unicodedata.category(letter).startswith("M") or letter in "'’"):
            continue
        script = (
            unicodedata.name(letter, "OTHER").split()[0].split("-")[0] if letter.isalpha() else ""
        )
        if script and script == last and script not in UNSPACED:
            length += 1
            continue
        end()
        last, length = script, 1 if script else 0
        if script:
            found.append(script)
    end()
    return found
