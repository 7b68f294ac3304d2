"""The writing system (script) of every word of a text."""

from __future__ import annotations

import re
import unicodedata

# Scripts of a language, by their Unicode names. Languages with one script are not distinguished.
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
# Written without spaces: each letter counts as a word.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI")
COMMAND = re.compile(r"\\[A-Za-z]+")


def scripts(text: str) -> list[str]:
    """The script of each word, in order.

    A word is a run of letters of one script, in Chinese, Japanese and Thai each letter; marks and
    apostrophes do not end it. LaTeX commands are no words, nor are other single letters, which
    name variables in any language.
    """
    found: list[str] = []
    last, length = "", 0

    def end() -> None:
        if length == 1 and last not in UNSPACED:
            found.pop()

    for letter in unicodedata.normalize("NFKC", COMMAND.sub(" ", text)):
        if last and (unicodedata.category(letter).startswith("M") or letter in "'’"):
            continue
        script = _script(letter) if letter.isalpha() else ""
        if script and script == last and script not in UNSPACED:
            length += 1
            continue
        end()
        last, length = script, 1 if script else 0
        if script:
            found.append(script)
    end()
    return found


def _script(letter: str) -> str:
    return unicodedata.name(letter, "OTHER").split()[0].split("-")[0]
