"""The wording around answers of every kind: statements, denials, wrapping."""

from __future__ import annotations

import re

from ratiocine.grading.characters import full_width_as_ascii

# "Answer" and "is" in the languages in which the field's multilingual benchmarks are asked.
ANSWERS = (
    "antwort|antwoord|respuesta|réponse|risposta|resposta|svar|odpowiedź|ответ|відповідь|απάντηση"
    "|cevap|yanıt|jawaban|jawabannya|đáp án|câu trả lời|jibu|उत्तर|উত্তর|الإجابة|إجابة|الجواب|תשובה"
)
CORRECT = "(?: (?:finale?|correcta?|correcte|corretta|correta|esatta|richtige|правильный|đúng))?"
IS = "(?:is|ist|lautet|es|est|è|é|er|to|är|adalah|ialah|là|ni|है|হল|হলো|هي|هو|היא|είναι)"
UNSPACED_IS = (  # 答案是, 正解は, 정답은, คำตอบคือ
    "(?:答案|正确答案|正確答案)\\s*(?:应|應|就)?\\s*(?:[:：]|[是为為选選])|故\\s*[选選]\\s*(?:择|擇)?"
    "|(?:答え|答|正解|解答|回答)\\s*(?:[:：]|は)|(?:정답|답변|답)\\s*(?:[:：]|[은는])|คำตอบ\\s*(?:[:：]|คือ)"
)
STATED = re.compile(
    r"(?:####|\b(?:final\s+)?answer(?:\s+is)?\s*(?:[:：]|\bis\b)|\banswer\s+is\b"
    rf"|\b(?:{ANSWERS}){CORRECT}\s*(?:[:：]|[—–]|\b{IS}\b)|{UNSPACED_IS})"
    r"[ \t]*[:：]?[ \t]*(?:\*\*)?\s*(?=([^\n]{1,400}))",
    re.IGNORECASE,
)
DENIED = re.compile(r"(?:\w+n't|not|never|neither|incorrect|wrong)\b|不|没有", re.IGNORECASE)
STYLES = (
    r"\\(?:text(?:bf|rm|it|sf|tt)?|math(?:rm|bf|it|sf|tt|cal)|boldsymbol|mbox|fbox|underline|emph)"
)
# Just before an answer: a denial, or words that make it only a bound.
BEFORE_DENIED = re.compile(
    r"(?:\b(?:not|never|neither|cannot|can't|no longer|maybe|but|except|eliminate|exclude)|n['’]t"
    r"|\b(?:greater|more|less|fewer|larger|smaller) than)\s+(?:[\w'’]+\s+){0,2}[$(]*$"
    r"|(?:不是|不等于|并非|大于|小于)\s*[$(]*$",
    re.IGNORECASE,
)
WRAPPED = re.compile(r"(\\[A-Za-z]+)?" + STYLES + r"\s*\{([^{}]*)\}")
WRAPPER = re.compile(STYLES + r"\s*\{")


def unwrapped(text: str) -> str:
    """The text without `\\text{…}` and the like, emphasis and math delimiters around it."""
    text = WRAPPED.sub(
        lambda match: f"{match[1]} {match[2]}" if match[1] else match[2], _undelimited(text)
    )
    if (match := WRAPPER.match(text)) and text.endswith("}"):
        text = text[match.end() : -1]
    return _undelimited(text)


def _undelimited(text: str) -> str:
    text = text.strip().lstrip("*$").strip()
    while text.endswith(("*", "$")) and not text.endswith("\\$"):
        text = text[:-1].rstrip()
    return text


ESCAPED = re.compile(r"\\([%&_#$])")
QUOTED = re.compile(
    r"(?P<quote>[\"'`])([^\"'`]+)(?P=quote)|[“„]([^“”„]+)[”“]|‘([^‘’]+)’|«([^«»]+)»"
    r"|「([^「」]+)」|『([^『』]+)』"
)


def folded(text: str) -> str:
    """The text in lower case and composed form, with single spaces, without LaTeX escapes, quotes
    around it and final stops."""
    text = ESCAPED.sub(r"\1", full_width_as_ascii(text))
    text = " ".join(re.sub(r"(?<=\w)~(?=\w)|\\ ", " ", text).casefold().split()).rstrip(".。")
    if match := QUOTED.fullmatch(text):
        text = next(part for part in match.groups()[1:] if part).strip().rstrip(".。")
    return text
