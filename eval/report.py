"""python -m eval.report DIR [DIR …] --out report.html: finished evaluations as one self-contained page.

A pure function of what the evaluations stored: the same folders give the same page, byte for byte, on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from eval import tables
from eval.tables import Arm, Difference, Expectation
from ratiocine import cli
from ratiocine.curves import curves
from ratiocine.errors import BadInput
from ratiocine.runs import check_finished
from ratiocine.traces import read_traces

TEMPLATE = Path(__file__).parent / "report.html.j2"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m eval.report", description="Compare finished evaluations in one page.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a finished `python -m eval` folder")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="the page (default: report.html)")
    options = parser.parse_args()
    arms = load_arms(options.folders)
    write(options.out, page(arms))
    print(terminal_table(arms))


def load_arms(folders: Sequence[Path]) -> list[Arm]:
    """The arms in the given order; raises BadInput where a folder is no finished evaluation or arms share no problem."""
    arms: list[Arm] = []
    for folder in folders:
        manifest = check_finished(folder)
        if manifest["verb"] != "eval":
            raise BadInput(f"{folder} holds a `{manifest['verb']}` run, not an evaluation")
        answers: dict[str, list[tables.Row]] = {}
        for row in read_traces(folder / "traces.jsonl"):
            answers.setdefault(row["key"], []).append(row)
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        name = label(manifest)
        if name in {arm.label for arm in arms}:
            name = f"{name} ({manifest['hash'][:6]})"
        arms.append(Arm(name, manifest, config, scores, answers))
    if not tables.shared_keys(arms):
        raise BadInput("these evaluations share no problem that could be compared")
    return arms


def label(manifest: Mapping[str, Any]) -> str:
    """What an arm is called: its way, and of several seeds that rewards have trained which."""
    student = manifest.get("student") or {}
    return f"{way(manifest)}, seed {student['seed']}" if "reward" in student else way(manifest)


def way(manifest: Mapping[str, Any]) -> str:
    """How a student was taught, mixed teaching by its ratio alone, and by which rewards then."""
    student = manifest.get("student")
    return f"{manifest['model']} (untrained)" if student is None else taught(student)


def taught(student: Mapping[str, Any]) -> str:
    if "reward" in student:
        parent = student["base"] if student["parent"] is None else taught(student["parent"])
        control = ", rewards shuffled" if student["control"] else ""
        named = " ".join(student[key] + " (changed)" * (key in student["changed"]) for key in ("objective", "reward"))
        return f"{parent} + {named}{control}"
    scenario, ratio = student.get("scenario") or "mixed", student["ratio"]
    words = [] if scenario == "mixed" else [scenario]
    return " ".join(words if ratio is None else [*words, f"ratio {ratio:g}"])


def write(out: Path, text: str) -> None:
    """Write the page in one step; raises BadInput where that cannot be done."""
    temporary = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, out)
    except OSError as error:
        raise BadInput(f"--out {out} cannot be written: {error.strerror}") from None


def page(arms: Sequence[Arm]) -> str:
    """The HTML page. Everything that models wrote is escaped."""
    import jinja2
    import markupsafe

    def drawn(student: Mapping[str, Any]) -> str:
        return markupsafe.Markup(curves(student["curves"], student["held_out"]))

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = tables.percent
    environment.filters["bare"] = lambda value: f"{100 * value:.1f}"
    environment.filters["broken"] = lambda name: markupsafe.escape(name).replace("_", markupsafe.Markup("_<wbr>"))
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    environment.filters["p"] = lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}"
    environment.filters["short"] = tables.short
    by_family, by_category = tables.groups(arms, "benchmark"), tables.groups(arms, "category")
    against_first = [(arms[0], arm) for arm in arms[1:]]
    tested = tables.expectations(arms)
    keys = tables.shared_keys(arms)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        arms=arms, families=by_family, categories=by_category, accuracy=tables.accuracy, n=len(keys),
        total=max(len(arm.answers) for arm in arms), warnings=warnings(arms), summary=summary(tested, tables.rewarded(arms)),
        by_category_differences=tables.differences(against_first, by_category),
        by_family_differences=tables.differences(against_first, by_family), tested=tested,
        overall={arm.label: tables.accuracy(arm, keys) for arm in arms}, examples=tables.examples(arms),
        chart=interval_chart(arms, by_family), cost=cost_chart(arms, keys), macros=tables.macros(arms, by_category),
        thinking=tables.thinking(arms), costs=tables.costs(arms),
        rewarded=[(arm, drawn(arm.student)) for arm in arms if "reward" in arm.student],
        decoding=arms[0].manifest["decoding"], trained=sum(arm.ratio is not None for arm in arms),
    )  # fmt: skip


def warnings(arms: Sequence[Arm]) -> list[str]:
    """What makes arms less comparable than they look."""
    found = []
    for key, what in (
        ("budget", "token budgets"),
        ("decoding", "decoding"),
        ("engine", "engines"),
        ("shown", "numbers of solved examples"),
        ("seed", "seeds"),
        ("dtype", "number formats"),
        ("attention", "attention"),
    ):
        values = {str(arm.manifest.get(key)) for arm in arms}
        if len(values) > 1:
            found.append(f"The arms were evaluated with different {what}: {', '.join(sorted(values))}.")
    rates = {arm.label: arm.student["lr"] for arm in arms if arm.student and "reward" not in arm.student}
    if len(set(rates.values())) > 1:
        told = ", ".join(f"{label} {rate:.2g}" for label, rate in rates.items())
        found.append(f"The arms were trained with different peak learning rates ({told}): the format is not all that differs.")
    keys = len(tables.shared_keys(arms))
    if any(len(arm.answers) != keys for arm in arms):
        found.append(f"Only the {keys} problems that all arms answered gradably are compared.")
    return found


def summary(tested: Sequence[Expectation], rewarded: Sequence[Difference]) -> list[str]:
    """The finding in sentences, each as strong as its interval."""
    after = [f"{d.arm}: {_points(d)} against {d.base}, from which it began: {_said(d)}." for d in rewarded]
    if not tested:
        return after or ["No two reasoning ratios are compared here, so no declared expectation is tested."]
    first = tested[0].difference
    sentences = [f"The student at {first.arm} is compared with the student at {first.base}, on the same problems."]
    for kind, title in (("gain", "Declared to gain from reasoning traces"), ("no_gain", "Declared not to gain")):
        of_kind = [f"{e.family}: {e.verdict} ({_points(e.difference)})" for e in tested if e.declared == kind]
        if of_kind:
            sentences.append(f"{title}: {'; '.join(of_kind)}.")
    return sentences + after


def _said(d: Difference) -> str:
    return {1: "better", 0: f"not decided by {d.n} problems", -1: "worse"}[d.decided]


def _points(d: Difference) -> str:
    return f"{100 * d.value:+.0f} points, 95 % interval {100 * d.low:+.0f} to {100 * d.high:+.0f}, n = {d.n}"


def interval_chart(arms: Sequence[Arm], grouped: dict[str, list[str]]) -> dict[str, Any]:
    """Dots and intervals: one band a family, one line an arm, x in percent of a 0–100 scale."""
    step, gap = 16, 14
    bands, y = [], 8
    for name, keys in grouped.items():
        lines = []
        for index, arm in enumerate(arms):
            share = tables.accuracy(arm, keys)
            lines.append({"y": y + index * step + 8, "arm": index, "label": arm.label, "share": share})
        bands.append({"name": name, "y": y, "height": step * len(arms), "lines": lines, "n": len(keys)})
        y += step * len(arms) + gap
    return {"bands": bands, "height": y + 12}


def cost_chart(arms: Sequence[Arm], keys: Sequence[str]) -> dict[str, Any]:
    """Accuracy over all problems against mean completion tokens, a point an arm."""
    points: list[dict[str, Any]] = []
    for index, arm in enumerate(arms):
        tokens = fmean(row["n_completion"] for key in keys for row in arm.answers[key])
        points.append({"arm": index, "label": arm.label, "tokens": tokens, "share": tables.accuracy(arm, keys)})
    most = max(point["tokens"] for point in points) * 1.15 or 1.0
    top = min(1.0, max(point["share"].high for point in points) * 1.15)
    return {"points": points, "most": most, "top": top}


def terminal_table(arms: Sequence[Arm]) -> str:
    """Accuracy by family and arm with intervals, then what was declared and what was seen."""
    width = max(22, *(len(arm.label) + 2 for arm in arms))
    lines = [f"{'accuracy (95 %)':18}" + "".join(f"{arm.label:>{width}}" for arm in arms)]
    grouped = {**tables.groups(arms, "benchmark"), "all": tables.shared_keys(arms)}
    for name, keys in grouped.items():
        shares = [tables.accuracy(arm, keys) for arm in arms]
        cells = [f"{100 * s.value:5.1f} % ({100 * s.low:.0f}–{100 * s.high:.0f})" for s in shares]
        lines.append(f"{name:18}" + "".join(f"{cell:>{width}}" for cell in cells))
    for e in tables.expectations(arms):
        d = e.difference
        declared = "should gain" if e.declared == "gain" else "should not gain"
        lines.append(f"{e.family:18}{declared:16} {d.arm} − {d.base}: {_points(d)}: {e.verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.leave("report", main)
