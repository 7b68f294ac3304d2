"""python -m eval.relay DIR DIR DIR [DIR …]: relays beside the models that they join.

DIR are finished evaluations: relays (`python -m eval relay='{source: DIR, at: 0.5}'`), their
sources and the receivers alone. For each relay it prints the accuracy of the receiver alone, of the
relay and of the source; the recovered gap (relay − receiver) / (source − receiver), where the two
models are shown to differ; and the same accuracies over the problems whose beginning of a trace
does not hold the answer yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from eval.benchmarks import load
from eval.config import Config
from eval.handover import handovers
from eval.report import (
    Evaluation,
    check_name,
    line_figure,
    load_evaluations,
    render,
    right_shares,
    shared_keys,
    write,
)
from ratiocine import cli
from ratiocine.completion_parts import CLOSE, CLOSING
from ratiocine.config import flattened
from ratiocine.errors import BadInput
from ratiocine.grading import NUMBER_IN_TEXT, folded, in_points, read_number
from ratiocine.records import LETTERS, Problem
from ratiocine.stats import PairedDifference, interval

RESAMPLES = 4000


Estimate = tuple[float, float, float]  # with its 95 % interval


@dataclass(frozen=True)
class Accuracy:
    """Accuracies over the same problems."""

    n: int
    receiver: Estimate
    relay: Estimate
    source: Estimate
    gain: Estimate
    """Relay − receiver."""


@dataclass(frozen=True)
class RelayResult:
    """A relay beside its two models."""

    source: str
    receiver: str
    at: float
    by: str
    force_answer: bool
    everywhere: Accuracy
    recovered: Estimate | None
    """Recovered gap; None where the models are not shown to differ."""
    without_leaks: Accuracy | None
    """Over the problems whose prefix does not hold the answer; None where all do."""
    source_tokens: float
    """Mean tokens of the source up to the cut."""
    receiver_tokens: float
    """Mean tokens that the receiver generated."""
    flops: float | None
    """Mean FLOPs of both, exact; None where a shape is unknown."""
    alone: int
    """Completions that went on from nothing, as the source had no trace."""


def main() -> None:
    parser = cli.argument_parser("eval.relay", __doc__)
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="a finished `python -m eval` folder"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("relays.html"),
        help="the page; its numbers go beside it as .json",
    )
    options = parser.parse_args()
    check_name(options.out)
    if options.out.suffix == ".json":
        raise BadInput(f"--out {options.out}: the numbers go there; give the page another ending")
    results = compared(load_evaluations(options.folders))
    rows = [asdict(one) for one in results]
    write(
        options.out.with_suffix(".json"),
        json.dumps({"schema_version": 1, "relays": rows}, indent=2) + "\n",
    )
    write(options.out, page(results))
    print(table(results))
    print(f"page: {options.out}")


def compared(evaluations: Sequence[Evaluation]) -> list[RelayResult]:
    """Every relay among the evaluations. Raises BadInput where there is none, or where its source
    or its receiver alone is missing."""
    relays = [one for one in evaluations if one.facts.relay is not None]
    if not relays:
        raise BadInput(
            "no relay among these evaluations; make one with python -m eval model=RECEIVER "
            "relay='{source: DIR, at: 0.5}'"
        )
    return [_result(one, *_models(one, evaluations)) for one in relays]


def _models(relay: Evaluation, evaluations: Sequence[Evaluation]) -> tuple[Evaluation, Evaluation]:
    """The source and the receiver alone."""
    facts = relay.facts.relay
    assert facts is not None
    sources = [one for one in evaluations if one.manifest.hash == facts.source]
    if not sources:
        raise BadInput(
            f"{relay.folder}: its source, the evaluation with the hash {facts.source}, is missing; "
            "give its folder too"
        )
    alone = [
        one for one in evaluations if one.facts.relay is None and _settings(one) == _settings(relay)
    ]
    if not alone:
        raise BadInput(
            f"{relay.folder}: the evaluation of its model alone, with the same settings, is "
            "missing: the same command without relay="
        )
    return sources[0], alone[0]


def _settings(evaluation: Evaluation) -> tuple[object, ...]:
    """Model and settings, without the relay."""
    identity = flattened(evaluation.manifest.identity)
    kept = {name: value for name, value in identity.items() if name.partition(".")[0] != "relay"}
    inputs = {**evaluation.manifest.inputs, "relay": None}
    return str(sorted(kept.items(), key=str)), str(sorted(inputs.items(), key=str))


def _result(relay: Evaluation, source: Evaluation, receiver: Evaluation) -> RelayResult:
    facts = relay.facts.relay
    assert facts is not None
    keys = shared_keys([relay, source, receiver])
    held = leaks(relay, source, keys)
    clean = [key for key in keys if key not in held]
    tokens, flops = relay.mean_tokens(keys), None
    if relay.facts.shape is not None and facts.flops is not None:
        own = relay.columns.flops(relay.facts.shape, relay.at(keys), exact=True)
        flops = facts.flops + (fmean(own) if facts.at < 1 else 0.0)
    return RelayResult(
        source=source.label,
        receiver=receiver.label,
        at=facts.at,
        by=facts.by,
        force_answer=facts.force_answer,
        everywhere=_accuracy(relay, source, receiver, keys),
        recovered=recovered_gap(*(right_shares(one, keys) for one in (relay, source, receiver))),
        without_leaks=_accuracy(relay, source, receiver, clean) if clean else None,
        source_tokens=facts.n_tokens,
        receiver_tokens=tokens or 0.0,
        flops=flops,
        alone=facts.alone if facts.at > 0 else 0,
    )


def _accuracy(
    relay: Evaluation, source: Evaluation, receiver: Evaluation, keys: Sequence[str]
) -> Accuracy:
    shares = [right_shares(one, keys) for one in (receiver, relay, source)]
    receiver_alone, relayed, source_alone = ((fmean(one), *interval(one)) for one in shares)
    gain = PairedDifference.of([shares[0]], [shares[1]])
    difference = (gain.difference, gain.low, gain.high)
    return Accuracy(len(keys), receiver_alone, relayed, source_alone, difference)


def recovered_gap(
    relay: Sequence[float], source: Sequence[float], receiver: Sequence[float]
) -> Estimate | None:
    """(relay − receiver) / (source − receiver) with its 95 % bootstrap interval over problems; None
    where the interval of source − receiver includes 0."""
    h, s, r = (np.asarray(one) for one in (relay, source, receiver))
    if not PairedDifference.of([receiver], [source]).conclusive:
        return None
    rng = np.random.default_rng(0)
    picked = rng.integers(0, len(h), size=(RESAMPLES, len(h)))
    gaps = (s - r)[picked].mean(axis=1)
    ratios = (h - r)[picked].mean(axis=1)[gaps != 0] / gaps[gaps != 0]
    ends = np.quantile(ratios, (0.025, 0.975))
    return float((h - r).mean() / (s - r).mean()), float(ends[0]), float(ends[1])


def leaks(relay: Evaluation, source: Evaluation, keys: Sequence[str]) -> set[str]:
    """The problems for which a prefix holds the answer already."""
    config = cli.check(Config, dict(relay.config))
    assert config.relay is not None
    moved = config.relay.model_copy(update={"source": str(source.folder)})
    problems = load(config).problems
    handed = handovers(config.model_copy(update={"relay": moved}), problems).by_request or {}
    wanted = set(keys)
    return {
        key
        for (key, _), one in handed.items()
        if key in wanted and holds_answer(problems[key], one.prefix)
    }


def holds_answer(problem: Problem, prefix: str) -> bool:
    """Whether a beginning of a trace holds the reference: a number as a value, else as words; of a
    choice the words of its option, which a trace may also hold as one of several."""
    reference = problem.reference
    if reference is None or not prefix:
        return False
    if CLOSE in prefix.removesuffix(CLOSING):  # beyond the trace
        return True
    if problem.kind == "number":
        wanted = read_number(in_points(problem, reference))
        plain = re.sub(r"[={}]", " ", in_points(problem, prefix))
        found = [*NUMBER_IN_TEXT.findall(plain), *plain.splitlines()]
        return wanted is not None and wanted in map(read_number, found)
    if problem.kind == "choice":
        if not problem.choices:
            return False
        reference = problem.choices[LETTERS.index(reference)]
    words = re.escape(folded(reference))
    return bool(words) and re.search(rf"(?<!\w){words}(?!\w)", folded(prefix)) is not None


def table(results: Sequence[RelayResult]) -> str:
    """Text for a terminal, by pair of models."""
    lines, groups = list[str](), dict[tuple[str, str], list[RelayResult]]()
    for one in results:
        groups.setdefault((one.source, one.receiver), []).append(one)
    for (source, receiver), of_pair in groups.items():
        lines += [f"{source} → {receiver}", HEAD]
        for one in sorted(of_pair, key=lambda row: (row.by, row.force_answer, row.at)):
            lines.append(_line(one))
            if one.alone:
                lines.append(f"    {one.alone} answers of the source have no trace to go on from")
    lines.append(
        "gain: relay − receiver. recovered: gain / (source − receiver), where these differ. no "
        "leak: problems whose beginning of a trace does not hold the answer."
    )
    return "\n".join(lines)


def page(results: Sequence[RelayResult]) -> str:
    """The chart and the table as one self-contained page."""
    import markupsafe

    curves = lines_of(results)
    wide, narrow = (
        markupsafe.Markup(line_figure(curves, "share of the trace", "relays", narrow=narrow))
        for narrow in (False, True)
    )
    return render("relays.html.j2", results=results, wide=wide, narrow=narrow)


def lines_of(
    results: Sequence[RelayResult],
) -> dict[str, list[tuple[float, float, float, float]]]:
    """Share of the trace, and accuracy with its interval, from the receiver alone (0) to the source
    (1), by pair of models and kind of cut."""
    found: dict[str, dict[float, Estimate]] = {}
    for one in results:
        forced = ", answer forced" if one.force_answer else ""
        line = found.setdefault(f"{one.source} → {one.receiver}, {one.by}{forced}", {})
        line |= {0.0: one.everywhere.receiver, 1.0: one.everywhere.source}
        line[one.at] = one.everywhere.relay
    return {label: [(at, *of[at]) for at in sorted(of)] for label, of in found.items()}


HEAD = (
    f"  {'cut':22}{'receiver':>10}{'relay':>8}{'source':>8}{'gain, points (95 %)':>24}"
    f"{'recovered':>22}{'no leak: n':>12}{'gain':>22}{'tokens':>13}"
)


def _line(one: RelayResult) -> str:
    whole, clean = one.everywhere, one.without_leaks
    cut = f"{one.at:g} by {one.by}{', forced' if one.force_answer else ''}"
    accuracies = f"{whole.receiver[0]:>10.1%}{whole.relay[0]:>8.1%}{whole.source[0]:>8.1%}"
    recovered = "–"
    if one.recovered is not None:
        recovered = "{:.0%} ({:.0%} to {:.0%})".format(*one.recovered)
    rest = f"{0 if clean is None else clean.n:>12}{'–' if clean is None else _points(clean):>22}"
    tokens = f"{one.source_tokens:.0f} + {one.receiver_tokens:.0f}"
    return f"  {cut:22}{accuracies}{_points(whole):>24}{recovered:>22}{rest}{tokens:>13}"


def _points(one: Accuracy) -> str:
    difference, low, high = (100 * value for value in one.gain)
    return f"{difference:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    cli.leave("relay", main)
