"""Replay of the families with a depth: the steps are derived again from the question, with code of
its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ratiocine.records import LETTERS, Problem

Check = Callable[[Problem, list[str]], str | None]
Solution = tuple[list[str], str]  # the lines of a trace, and the answer
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def compared(problem: Problem, lines: Sequence[str], solution: Solution) -> str | None:
    """`steps` for other lines than those of the solution, `answer` for another reference, None if
    both agree."""
    steps, answer = solution
    if list(lines) != steps:
        return "steps"
    reference = problem.reference or ""
    if problem.choices:
        reference = dict(zip(LETTERS, problem.choices, strict=False)).get(reference, "")
    return None if reference == answer else "answer"


def _last_letters(question: str) -> Solution:
    words = question.rpartition(": ")[2].split()
    return [f"{word}: {word[-1]}" for word in words], "".join(word[-1] for word in words)


def _letter_moves(question: str) -> Solution:
    first, *moves, _ = question.split(". ")
    letters, lines = first.removeprefix("Start with the letters ").split(), []
    for move in moves:
        if move == "Reverse the order":
            letters.reverse()
        elif move.startswith("Swap"):
            i, j = (0, 1) if "first" in move else (-2, -1)
            letters[i], letters[j] = letters[j], letters[i]
        elif move == "Move the first letter to the end":
            letters.append(letters.pop(0))
        else:
            letters.insert(0, letters.pop())
        lines.append(f"{move}: {' '.join(letters)}")
    return lines, " ".join(letters)


def _weekday(question: str) -> Solution:
    day = question.split()[2].rstrip(".")
    lines = []
    for n, way in re.findall(r"(\d+) days (forward|back)", question):
        sign = 1 if way == "forward" else -1
        to = DAYS[(DAYS.index(day) + sign * int(n)) % 7]
        lines.append(f"{day} {'+' if sign > 0 else '-'} {n} days = {to}")
        day = to
    return lines, day


def _hops(question: str) -> Solution:
    to = dict(re.findall(r"(\w+) points to (\w+)", question))
    asked = re.search(r"Start at (\w+) and go (\d+) step", question)
    assert asked is not None
    at, lines = asked[1], []
    for _ in range(int(asked[2])):
        lines.append(f"{at} points to {to[at]}.")
        at = to[at]
    return lines, at


def _swaps(question: str) -> Solution:
    owned = dict(re.findall(r"(\w+) has (\w+)", question))
    lines = []
    for a, b in re.findall(r"(\w+) and (\w+) swap", question):
        owned[a], owned[b] = owned[b], owned[a]
        state = ", ".join(f"{who} {what}" for who, what in owned.items())
        lines.append(f"{a} and {b} swap: {state}")
    return lines, owned[question.split()[-3]]


def _ordering(question: str) -> Solution:
    asked = re.search(r"from (\w+) to \w+, who is number (\d+)", question)
    assert asked is not None
    below = {}
    for one, how, other in re.findall(r"(\w+) is (\w+) than (\w+)", question):
        more = how.removesuffix("er") + "est" == asked[1]
        below[one if more else other] = other if more else one
    (order,) = ([top] for top in below if top not in below.values())
    while order[-1] in below:
        order.append(below[order[-1]])
    lines = [" > ".join(order[:n]) for n in range(2, len(order) + 1)]
    return lines, order[int(asked[2]) - 1]


def _sets(problem: Problem) -> Solution:
    text, _, asked = problem.question.partition(" Which word is on exactly these lists: ")
    lists = {name: words.split(", ") for name, words in re.findall(r"List (\w): ([\w, ]+)", text)}
    on = {
        word: ", ".join(name for name, words in lists.items() if word in words)
        for word in problem.choices
    }
    (found,) = (word for word, names in on.items() if names == asked.rstrip("?"))
    return [f"{word}: {names}" for word, names in on.items()], found


def _remainder(question: str) -> Solution:
    number, divisor = re.findall(r"\d+", question)
    lines: list[str] = []
    carried = ""
    for digit in number:
        carried = str(int(carried + digit))
        if lines or int(carried) >= int(divisor):
            quotient, left = divmod(int(carried), int(divisor))
            lines.append(f"{carried} = {divisor} * {quotient} + {left}")
            carried = str(left)
    return lines, str(int(number) % int(divisor))


def _largest_result(question: str) -> Solution:
    sums = re.findall(r"(\d+) ([-+]) (\d+)", question)
    results = {
        f"{a} {sign} {b}": int(a) + int(b) if sign == "+" else int(a) - int(b)
        for a, sign, b in sums
    }
    best = max if "largest" in question else min
    lines = [f"{text} = {result}" for text, result in results.items()]
    return lines, best(results, key=lambda text: results[text])


def _decimal_order(question: str) -> Solution:
    numbers = re.findall(r"\d+\.\d+", question)
    place = re.search(r"number (\d)", question)
    assert place is not None
    ordered = sorted(numbers, key=float)
    lines = [f"{number} = {float(number):.3f}" for number in numbers]
    return [*lines, " < ".join(ordered)], ordered[int(place[1]) - 1]


def _passengers(question: str) -> Solution:
    total = int(question.split()[4])
    lines = []
    for n, way in re.findall(r"(\d+) people get (on|off)", question):
        sign = "+" if way == "on" else "-"
        after = total + int(sign + n)
        lines.append(f"{total} {sign} {n} = {after}")
        total = after
    return lines, str(total)


def _clock(question: str) -> Solution:
    (hours, minutes), *tasks = re.findall(r"(\d+):(\d\d)", question)
    now, lines = 60 * int(hours) + int(minutes), []
    for more_hours, more in tasks:
        before = f"{now // 60}:{now % 60:02}"
        now += 60 * int(more_hours) + int(more)
        lines.append(f"{before} + {more_hours}:{more} = {now // 60}:{now % 60:02}")
    return lines, f"{now // 60}:{now % 60:02}"


SOLVERS: dict[str, Callable[[str], Solution]] = {
    "last_letters": _last_letters,
    "letter_moves": _letter_moves,
    "weekday": _weekday,
    "hops": _hops,
    "swaps": _swaps,
    "ordering": _ordering,
    "remainder": _remainder,
    "largest_result": _largest_result,
    "decimal_order": _decimal_order,
    "passengers": _passengers,
    "clock": _clock,
}


def _check(solver: Callable[[str], Solution]) -> Check:
    return lambda problem, lines: compared(problem, lines, solver(problem.question))


STEP_CHECKS: dict[str, Check] = {
    **{name: _check(solver) for name, solver in SOLVERS.items()},
    "sets": lambda problem, lines: compared(problem, lines, _sets(problem)),
}
