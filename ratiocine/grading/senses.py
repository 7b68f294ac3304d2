"""Words beside a number that exclude each other: where the reference and an answer both have one,
equal numbers are no equal answers (10 am and 10 pm, 5 May and 5 June, 3 early and 3 late)."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 200  # characters of an answer; in a longer one such words belong to other numbers

_MONTHS = (
    "jan|january|januar|janvier|enero|gennaio|janeiro",
    "feb|february|februar|février|febrero|febbraio|fevereiro",
    "mar|march|märz|mars|marzo|março",
    "apr|april|avril|abril|aprile",
    "may|mai|mayo|maggio|maio",
    "jun|june|juni|juin|junio|giugno|junho",
    "jul|july|juli|juillet|julio|luglio|julho",
    "aug|august|août|agosto",
    "sep|sept|september|septembre|septiembre|settembre|setembro",
    "oct|october|okt|oktober|octobre|octubre|ottobre|outubro",
    "nov|november|novembre|noviembre|novembro",
    "dec|december|dez|dezember|décembre|diciembre|dicembre|dezembro",
)
_GROUPS: Sequence[Sequence[str]] = (
    (
        r"a\.?m|mornings?|morgens|vormittags|midnight|mitternachts?",
        r"p\.?m|afternoons?|evenings?|nachmittags|abends|noon|midday|mittags",
    ),
    _MONTHS,
    (r"b\.?c(?:\.?e)?|v\. ?chr", r"a\.?d|c\.?e|n\. ?chr"),
    ("left|links", "right|rechts"),
    ("north|nord", "south|süd", "east|ost", "west"),
    ("debits?|debited|owed", "credits?|credited"),
    (
        "increases?|increased|rise|rises|gains?|gained|profits?|growth|more|up|higher|anstieg|gewinn",
        "decreases?|decreased|fall|falls|drops?|loss|losses|decline|fewer|less|down|lower|rückgang"
        "|verlust",
    ),
    ("early|earlier|ago|before|früher|vorher", "late|later|hence|after|später|danach|verspätet"),
    ("above", "below|beneath|under"),
)
SENSES = [
    [re.compile(rf"(?<![^\W\d_])(?:{words})(?![^\W\d_])", re.IGNORECASE) for words in group]
    for group in _GROUPS
]


def contradict(reference: str, answer: str) -> bool:
    """Whether both say what the other excludes."""
    if len(answer) > LONGEST:
        return False
    for group in SENSES:
        meant = {at for at, words in enumerate(group) if words.search(reference)}
        said = {at for at, words in enumerate(group) if words.search(answer)}
        if meant and said and not meant & said:
            return True
    return False
