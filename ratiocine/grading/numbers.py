"""Numbers as people write them, read exactly: no rounding, and no arithmetic in place of the
writer."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from ratiocine.grading import arithmetic, cleaning, latex
from ratiocine.grading.characters import LETTER, ascii_forms
from ratiocine.grading.values import Number, same
from ratiocine.grading.wording import BEFORE_DENIED, unwrapped

NUMBER = re.compile(r"-?(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
NUMBER_IN_TEXT = re.compile(
    rf"(?<!{LETTER})(?<![.^_{{/:\\√π])(?<!\d[-−–])[-−]?\$?"
    r"(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:\s?/\s?[1-9]\d*)?"
    r"(?!\d|\s*\^|[,:/\-−–]\d|\s*[π√])"
)
MATH_IN_TEXT = re.compile(
    r"\$\$?([^$]{1,400})\$|\\\(([^\n]{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL
)
DIGITS_OF = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
LITERAL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<money>[£€¥₹₩₽₺₦₫]|USD|US|EUR|GBP|INR)?\s*(?P<inner>-?)(?:"
    rf"(?P<whole>\d+)?\s*\\frac\s*\{{?(?P<top>-?\d+)\}}?\s*\{{?(?P<bottom>-?\d+)\}}?"
    rf"|(?P<mixed>\d+)\s+(?P<above>\d+)/(?P<below>\d+)"
    rf"|(?P<over>{DIGITS_OF}(?:\.\d+)?)\s*/\s*(?P<under>\d+)"
    rf"|(?P<plain>{DIGITS_OF}(?:\.\d+)?|\.\d+)"
    rf"(?:\s*[*x]\s*10\s*\^\s*\{{?(?P<tens>[-+]?\d{{1,3}})\}}?|[eE](?P<e>[-+]?\d{{1,3}}))?"
    rf")(?P<tail>.*)",
    re.DOTALL,
)
# Scale words, by the power of ten. A German Billion and a French billion are read as the English.
TENS = {
    2: "hundreds?|hundert|百|백",
    3: "thousands?|tausend|tsd|mille|ribu|nghìn|ngàn|тыс(?:яч[аи]?)?|हज़ार|ألف|آلاف|千|천|พัน",
    4: "万|萬|만|หมื่น",
    5: "lakhs?|lacs?|लाख|แสน",
    6: "millions?|mio|millionen|millón|millones|milhão|milhões|milioni|miljoen|juta|triệu|млн"
    "|миллион(?:а|ов)?|مليون|ملايين|百万|백만|ล้าน",
    7: "crores?|करोड़|千万|천만",
    8: "亿|億|억",
    9: "billions?|mrd|milliards?|milliarden|miliardi|miljard|milyar|miliar|tỷ|млрд"
    "|миллиард(?:а|ов)?|مليار",
    12: "trillions?|兆|조",
}
SCALES = [(re.compile(r"dozens?\b", re.IGNORECASE), 12)] + [
    (re.compile(rf"(?:{words})(?!{LETTER})\.?", re.IGNORECASE), 10**power)
    for power, words in sorted(TENS.items(), reverse=True)
]
SCALE = rf"(?:dozens?|{'|'.join(TENS.values())})(?!{LETTER})"
# Letters for a scale, directly after the digits. `5 K` may be kelvin and `2 m` metres: after an
# amount of money they are thousands and millions.
LETTERS_OF_SCALE = [
    (re.compile(rf"(?:{words})(?!{LETTER})"), scale)
    for words, scale in (("k", 10**3), ("mn", 10**6), ("bn", 10**9))
]
LETTERS_OF_MONEY = [
    (re.compile(rf"\s?(?:{words})(?!{LETTER})"), scale)
    for words, scale in (("[kK]", 10**3), ("[mM]|MM|mn", 10**6), ("[bB]|bn", 10**9))
]
MARKS = "\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f"  # vowel signs and accents, which are no letters
# Greek letters alone are numbers or variables.
UNIT_LETTER = r"(?:(?![Α-ω])[^\W\d_]|[Α-Ωά-ώ]{3}[Α-Ωά-ώ]*+|[Ωμ])"
# Possessive quantifiers reject a long text that is no unit in one pass.
UNITS = re.compile(
    rf"(?:\s*+(?:[%°'’\"$£€¥¢₹₩₽₺₦₫]"
    rf"|-?+(?:{UNIT_LETTER}|[{MARKS}])(?:{UNIT_LETTER}|[{MARKS}'’-])*+(?:\s*+\^\s*+\{{?-?\d\}}?)?"
    rf"|[/.·*](?=\s*{UNIT_LETTER})))*+\s*+\.?"
)
NO_UNIT = re.compile(
    r"\b(?:or|and|minus|plus|times(?!\s*$|\s+as\b)|half|halves|thirds?|quarters?|fourths?|fifths?"
    r"|squared|cubed|to|not|if|because|since|divided|percent of|below|maybe|perhaps|possibly"
    r"|(?-i:[KMBКМ])|mil|bn|mn|at least|at most|pi|[xyznik]|negative|out of)\b|^over\b"
    r"|[半多余]|以[上下内]|未[满満]|分之|반",
    re.IGNORECASE,
)
DRESS = re.compile(
    r"^(?:\\approx|[≈~]|about|approximately|circa|ca\.?|etwa|rund|ungefähr|exactly|genau|only|rs\.?|(?:US|AU|CA|NZ|HK|A|C|R)(?=\\?\$)"
    r"|[A-Za-z][A-Za-z ]{0,40}:)\s*(?=[-+$£€¥₹₩₽₺₦₫\\.\d(])",
    re.IGNORECASE,
)
RELATION = re.compile(
    r"[<>≤≥≠]|!=|\\n?eq?(?![A-Za-z])|\\[lg]eq?(?![A-Za-z])|\\(?:not|in|approx)(?![A-Za-z])"
)
MAX_DIGITS = 4000  # Python converts few more


def read_number(text: str) -> Fraction | None:
    """The exact value of a number: sign, thousands separators, decimals, a fraction, plain or in
    LaTeX.

    Ignored are currency, per cent, a unit, a final stop, and before a `=` a name or a calculation
    with this result. None for anything else: an open calculation is no number.
    """
    plain = text.strip()
    plain = plain if plain.endswith("..") else plain.removesuffix(".")
    simple = plain and len(plain) <= MAX_DIGITS and plain[-1].isdecimal() and plain.isascii()
    if simple and NUMBER.fullmatch(plain):
        top, _, bottom = plain.replace(",", "").partition("/")
        if not bottom:
            return Fraction(top)
        return Fraction(top) / int(bottom) if int(bottom) else None
    return _read_number(text)


@lru_cache(maxsize=4096)
def _read_number(text: str) -> Fraction | None:
    if len(text) > latex.MAX_LENGTH:
        return None
    plain = DRESS.sub("", unwrapped(ascii_forms(text)))
    plain = re.sub(r"^(?:minus|negative)\s+(?=\d)", "-", plain, flags=re.IGNORECASE)
    value = right_side(plain) if "=" in plain else plain
    return None if value is None else _literal(value, money=bool(DOLLARS.search(text)))


# A dollar sign that is no delimiter of a formula.
DOLLARS = re.compile(r"\$\s?[\d.,]+\s?[A-Za-z]+\W*(?<!\$)$")


def _literal(text: str, *, money: bool) -> Fraction | None:
    """A literal number with what may surround it."""
    plain = cleaning.ORDINAL.sub("", cleaning.DEGREES.sub("", cleaning.normal(text)))
    plain = UNIT_COMMAND.sub(lambda command: UNIT_COMMANDS[command[1]], plain.replace("\\%", "%"))
    plain = re.sub(r"^[({]+([^(){}]*)[)}]+$", r"\1", plain)
    plain = re.sub(r"\s*\((?!or\b|not\b)[A-Za-z ]*\)$", "", plain)
    match = LITERAL.fullmatch(IN_TEXT.sub(r" \1 ", plain).strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    value, tail = _value(match), match["tail"].strip()
    if value is None:
        return None
    letters = LETTERS_OF_MONEY if money or match["money"] else LETTERS_OF_SCALE
    for word, times in (*SCALES, *letters):
        if found := word.match(tail):
            value, tail = value * times, tail[found.end() :].strip()
            break
    if not UNITS.fullmatch(tail) or NO_UNIT.search(tail) or SCALE_WORD.search(tail):
        return None
    return -value if "-" in (match["sign"], match["inner"]) else value


SCALE_WORD = re.compile(rf"(?<!{LETTER}){SCALE}", re.IGNORECASE)
IN_TEXT = re.compile(r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
UNIT_COMMANDS = {"Omega": "Ω", "mu": "μ", "AA": "Å", "ell": "l", "euro": "€", "pounds": "£"}
UNIT_COMMAND = re.compile(rf"\\({'|'.join(UNIT_COMMANDS)})(?![A-Za-z])\s*")


def _value(match: re.Match[str]) -> Fraction | None:
    """The unsigned value of a match of `LITERAL`; None for a zero denominator."""
    part = match.groupdict()
    denominator = part["bottom"] or part["below"] or part["under"]
    if denominator:
        if not int(denominator):
            return None
        numerator = Fraction(re.sub("[, ]", "", part["top"] or part["above"] or part["over"]))
        return numerator / int(denominator) + int(part["whole"] or part["mixed"] or 0)
    exponent = int(part["tens"] or part["e"] or 0)
    return Fraction(re.sub("[, ]", "", part["plain"])) * Fraction(10) ** exponent


NAME = re.compile(
    r"(?:m?\\(?:angle|triangle|measuredangle|overline)\s*)?\{?[A-Za-zα-ωθπ]{1,3}\}?(?:_«[^»]*»"
    r"|_[A-Za-z0-9]|\^\{?-1\}?|['′])*"
    r"(?:\([^=]{0,40}\))?|\|[A-Za-z]+\||\\(?:sin|cos|tan|cot|sec|csc|det|gcd|lcm|binom|deg|max|min"
    r"|dim|arg|log)(?![A-Za-z]).{1,40}"
)
NAMED = re.compile(r"(?:\\text\s*\{[^{}]*\}|[A-Za-z][A-Za-z' ]{2,60})(?:\s*\([^=]{0,40}\))?")


def right_side(text: str) -> str | None:
    """The right side of an equation whose left side is a name, or a calculation with that result;
    else None.

    An expression in several variables counts as a name (`m + n = 33`): it was asked for. One in a
    single variable does not: `2x = 4` does not state x.
    """
    if RELATION.search(text) or re.search(r"[,;]\s|\b(?:or|and)\b", text):
        return None
    *left, right = (side.strip() for side in text.split("="))
    if (
        len(left) == 1 and re.fullmatch(r"[a-df-zA-Z]", right) and re.search(r"\d", left[0])
    ):  # 5 = x
        left, right = [right], left[0]
    return right if right and all(_names(side, right) for side in left) else None


def _names(side: str, right: str) -> bool:
    """Whether `side = right` states that the value asked for is `right`."""
    plain = re.sub(
        r"\\(?!pi)([a-zA-Z]+)",
        lambda m: "θ" if m[0] in arithmetic.GREEK else m[0],
        cleaning.indexed(cleaning.normal(side)),
    )
    if len(side) <= 60 and (NAME.fullmatch(plain) or NAMED.fullmatch(plain)):
        letter = re.fullmatch(r"[a-df-zA-Z]", plain)
        return plain not in ("e", "i", "π", "\\pi") and not (
            letter and re.search(rf"(?<![A-Za-z\\]){plain}(?![A-Za-z_])", right)
        )
    value = latex.read(side)
    if not isinstance(value, Number):
        return False
    if len(value.variables) > 1 and not re.search(r"[A-Za-z]{2,} [A-Za-z]", side):
        return True
    result = latex.read(right)
    return isinstance(result, Number) and same(value, result) is True


SCALED = re.compile(rf"\s*{SCALE}", re.IGNORECASE)
ALTERNATIVE = re.compile(r"\d.{0,28}\bor\b.{0,12}$|\d\s+and\s+\$?$", re.DOTALL | re.IGNORECASE)


def last_number(text: str) -> tuple[str, str] | None:
    """The last number of a text, with its scale (`3 million`) or as a mixed number; None if it is
    denied or hedged."""
    formulas, numbers = list(MATH_IN_TEXT.finditer(text)), list(NUMBER_IN_TEXT.finditer(text))
    if formulas and (not numbers or formulas[-1].end() >= numbers[-1].end()):
        formula = next(part for part in formulas[-1].groups() if part)
        return (formula, "last_formula") if read_number(formula) is not None else None
    if not numbers or BEFORE_DENIED.search(
        text[max(0, numbers[-1].start() - 60) : numbers[-1].start()]
    ):
        return None
    start, end = numbers[-1].span()
    if len(numbers) > 1 and ALTERNATIVE.search(
        text[max(numbers[-2].end() - 1, start - 30) : start]
    ):
        return None
    if "/" in numbers[-1][0] and (
        whole := re.search(r"(?<![\w.])\d{1,9} $", text[max(0, start - 12) : start])
    ):
        start -= len(whole[0])
    if scale := SCALED.match(text, end):
        end = scale.end()
    return text[start:end], "last_number"


GOES_ON = re.compile(
    r"\s*(?:[-+*/=^×<>!π√]|\\(?![,; ]|text|mathrm|%|\$))|,?\s*(?:\w+\s+)?(?:or|to"
    r"|and)\s+(?:\w+\s+)?(?:\$?\d|a half)"
    r"|\s*[,;]\s*(?:or\s+)?\$?\d[\d.,]*\W*$"
)


def first_number(text: str) -> str | None:
    """The number that a statement begins with; None if it begins otherwise. If the rest changes the
    value (a hedge, an operator, the second part of a measure): None with an `=`, else empty."""
    match = NUMBER_IN_TEXT.match(text)
    refused = None if "=" in text or not re.match(r"[-$]?\d", text) else ""
    if match is None:
        return refused
    rest = text[match.end() :]
    if GOES_ON.match(rest):
        return refused
    words = re.match(r"\s*([A-Za-z]+)(\s+\d)?", rest)
    if SCALED.match(rest) or (words and (words[2] or NO_UNIT.fullmatch(words[1]))):
        return refused
    return match[0]
