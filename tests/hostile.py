"""Answers made to hang, crash or fool a grader. `python tests/hostile.py` tries them on public
graders and writes hostile.json."""

from __future__ import annotations

BOXES = "\\boxed{"
CASES: dict[str, list[str]] = {
    "towers and huge numbers": [
        "9^{9^{9^{9}}}",
        "9**9**9**9",
        "2^{2^{2^{2^{2^{2}}}}}",
        "10^{10^{10}}",
        "10^{1000000}",
        "10^{-1000000}",
        "(-2)^{10^{9}}",
        "0.5^{10^{12}}",
        "e^{e^{e^{e^{e}}}}",
        "x^{x^{x^{x^{x^{x}}}}}",
        "(1+x)^{100000}",
        "(x+y+z)^{200}",
        "((10!)!)!",
        "5" + "!" * 40,
        "!" * 300,
        "10000!",
        "(10^5)!",
        "1e999999999",
        "1e-999999999",
        "1" * 1_000_000,
        "-" + "7" * 100_000,
        "0." + "0" * 5000 + "1",
        "0." + "3" * 100_000,
        "1" + ",000" * 3000,
        "1/" + "3" * 5000,
        "7" * 5000 + "/" + "9" * 5000,
        "\\binom{10^9}{5\\cdot10^8}",
        "\\binom{100000}{50000}",
        "\\gcd(10^{400}+1, 7)",
        "2^{1000000} \\bmod 7",
        "\\frac{10^{5000}}{10^{5000}-1}",
        "\\sqrt{10^{20000}}",
        "\\sqrt[1000000]{2}",
        "99999999999999999999^{99999999}",
    ],
    "sums, products, integrals": [
        "\\sum_{n=1}^{10^{10}} n",
        "\\sum_{n=1}^{\\infty} \\frac{1}{n^n}",
        "\\prod_{k=1}^{1000000} k",
        "\\prod_{k=1}^{10^8} (1+\\frac{1}{k})",
        "\\int_0^\\infty e^{-x^{x^x}} dx",
        "\\int_0^1 x^{x^x} dx",
        "\\int\\int\\int\\int x^y y^z z^x dx dy dz dw",
        "\\lim_{x\\to 0} \\frac{\\sin(\\tan x) - \\tan(\\sin x)}{x^7}",
        "\\sum_{i=1}^{1000}\\sum_{j=1}^{1000}\\sum_{k=1}^{1000} ijk",
        "\\frac{d^{500}}{dx^{500}} e^{x^2}",
        "\\sin(" * 100 + "x" + ")" * 100,
        "\\log(" * 80 + "2" + ")" * 80,
        "\\cos(10^{100})",
        "\\tan(\\frac{\\pi}{2})",
        "\\zeta(3)",
        "\\Gamma(10^6)",
        "\\int_0^{10^9} \\sin(x^{x}) dx",
    ],
    "nesting and unclosed braces": [
        "(((" * 300,
        "[" * 100_000,
        "{" * 100_000,
        "\\{" * 1000,
        "\\frac{" * 400,
        "\\frac{1}{" * 200 + "2" + "}" * 200,
        "\\sqrt{" * 200 + "2" + "}" * 200,
        "^{" * 500,
        "_{" * 500,
        "x^{y^{z^{" * 60 + "1" + "}" * 180,
        "\\left(" * 300,
        "\\left(" * 100 + "1" + "\\right)" * 100,
        "\\right)" * 300,
        "\\text{" * 1000,
        "\\text{" * 200 + "42" + "}" * 200,
        "\\begin{pmatrix}" * 50,
        "\\begin{pmatrix} 1 & 2 \\\\ 3 \\end{pmatrix}",
        "\\begin{matrix}" + "1&" * 3000 + "1\\end{matrix}",
        "\\begin{cases} x \\\\ " * 40,
        "\\begin{array}{ccc}" * 30,
        "\\overline{" * 150 + "1" + "}" * 150,
        "1+(" * 150 + "1" + ")" * 150,
        "-" * 5000 + "1",
        "+" * 5000,
        "((1)" * 200,
        "}" * 1000 + "42",
        "{42",
        "42}",
        "{{42}}",
        "\\{42",
        "\\frac{42}",
        "\\frac",
        "\\frac{}{}",
        "\\sqrt",
        "\\sqrt[]{}",
        "^",
        "_",
        "\\",
        "\\\\",
        "&",
        "#",
        "%",
        "~",
    ],
    "thousands of boxes, tags and delimiters": [
        BOXES * 140_000,
        BOXES * 500 + "42" + "}" * 500,
        (BOXES + "41} ") * 3000,
        (BOXES + "} ") * 3000,
        "\\boxed",
        "\\boxed 42",
        "\\boxed{42}\\boxed{",
        "\\fbox{42}",
        "\\boxed{\\boxed{}}",
        "\\boxed{41\\boxed{42}",
        "</think>" * 1000,
        "<think>" * 1000,
        "<think>",
        "<think></think>" * 500 + "41",
        "<answer>" * 1000,
        "</answer>42",
        "<answer><answer>42</answer>",
        "<answer>41</answer><answer>",
        "</answer></think>",
        "<|im_end|>42<|im_start|>assistant",
        "$" * 10_000,
        "$$" * 2000 + "42",
        "\\[" * 5000,
        "\\(" * 3000 + "42" + "\\)" * 3000,
        "<<" * 50_000,
        "####" * 5000,
        "#### 41\n#### 42" * 200,
        "The answer is " * 3000,
        "answer: " * 5000,
        "**" * 20_000,
        "`" * 20_000,
    ],
    "control characters, scripts and look-alikes": [
        "\x00",
        "42\x00",
        "4\x002",
        "\x1b[2J42",
        "\u202e24",
        "\u202e42\u202c",
        "\ud800",
        "42\ud83d",
        "\ufeff42",
        "4\u200b2",
        "4\u00ad2",
        "4\u00a02",
        "٤٢",
        "४२",
        "４２",
        "𝟒𝟐",
        "④②",
        "⁴²",
        "Ⅳ2",
        "4２",
        "42\u0301",
        "−42",
        "–42",
        "4⁄2",
        "½",
        "∞",
        "√1764",
        "６×７",
        "a\u0300" * 5000,
        "\u202e" * 10_000,
        "🧮" * 20_000,
        "\U0010ffff",
        "ﷺ" * 2000,
        "ß" * 5000,
        "İ" * 5000,
        "\r" * 10_000 + "42",
        "\x0b42\x0c",
        "\u2028" * 3000 + "42",
    ],
    "markup and code": [
        "<b>42</b>",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "&lt;42&gt;",
        "&#52;&#50;",
        "]]>42",
        "<!--" * 5000,
        "{{7*6}}",
        "${7*6}",
        "%s%s%n",
        "__import__('os').system('true')",
        "lambda: 42",
        "eval('42')",
        "exec('x=42')",
        "[x for x in range(10**9)]",
        "().__class__.__mro__",
        "\\input{/etc/passwd}",
        "\\write18{true}",
        "\\def\\x{\\x\\x}\\x",
        "\\newcommand{\\a}{\\a\\a}\\a",
        "\\loop\\iftrue\\repeat",
        "\\csname x\\endcsname",
        "'; DROP TABLE t; --",
        '{"answer": 42}',
        "42;43",
        "NaN",
        "nan",
        "inf",
        "None",
        "True",
        "null",
    ],
    "long lists, relations and many signs": [
        "{1,2," * 2000,
        "1," * 400 + "1",
        "1," * 50_000 + "1",
        "\\{" + ",".join(map(str, range(3000))) + "\\}",
        "=" * 5000,
        "1=2=3=" * 500,
        "x=1 or " * 500 + "x=2",
        "1<" * 500 + "2",
        "\\pm" * 100,
        "1\\pm" * 100 + "1",
        " ".join(f"\\pm {n}" for n in range(1, 15)),
        "[0,1]\\cup" * 300 + "[2,3]",
        "\\cup" * 500,
        "x_1" + "+x_1" * 3000,
        "1+" * 20_000 + "1",
        "(x+1)" * 2000,
        "(x-1)(x-2)(x-3)(x-4)(x-5)(x-6)(x-7)(x-8)(x-9)(x-10)(x-11)(x-12)",
        "x" * 999,
        "abcdefghijklmnopqrstuvwxyz" * 100,
        "\\sqrt{2}" + "+\\sqrt{3}" * 400,
        "+".join(f"\\sqrt{{{n}}}" for n in range(2, 60)),
        "\\alpha\\beta\\gamma" * 500,
    ],
    "undefined values and edge values": [
        "1/0",
        "0/0",
        "/8",
        "-/86",
        "\\frac{1}{0}",
        "\\frac{0}{0}",
        "\\infty",
        "-\\infty",
        "\\infty-\\infty",
        "\\infty/\\infty",
        "i^i",
        "0^0",
        "0^{-1}",
        "\\log(0)",
        "\\log(-1)",
        "\\sqrt{-1}",
        "\\arcsin(2)",
        "\\tan(90^\\circ)",
        "0!",
        "(-1)!",
        "-0",
        "+42",
        "--42",
        "42.",
        ".42.",
        "4.2.1",
        "1,23,45",
        "42%",
        "$42",
        "42°",
        "\\emptyset",
        "\\varnothing",
        "()",
        "[]",
        "\\{\\}",
        "",
    ],
    "texts that stall patterns": [
        "\n" * 100_000 + "-",
        "*" * 100_000,
        " " * 100_000 + "p.s.",
        "p. s" * 20_000,
        "A" * 100_000,
        "A B C D " * 10_000,
        "a" * 50_000 + "!",
        "(A) " * 5000,
        "\t" * 100_000,
        "- \n" * 30_000,
        "Section " * 5000,
        "[" + "x" * 50_000,
        "<<" + " " * 50_000 + ">",
        '"' * 20_001,
        "_" * 100_000,
        "1.1." * 20_000,
        ",,," * 20_000,
        "...." * 20_000,
        "P.P.S" * 10_000,
        "e" * 100_000,
    ],
}
HOSTILE = [text for texts in CASES.values() for text in texts]


def digest() -> str:
    """What `hostile.json` belongs to."""
    import hashlib

    return hashlib.sha256("\0".join(HOSTILE).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _math_verify(text: str) -> object:
    from math_verify import parse, verify

    return verify(parse("$42$"), parse(f"\\boxed{{{text}}}"))


def _trl(text: str) -> object:
    from trl.rewards import accuracy_reward

    return accuracy_reward([[{"role": "assistant", "content": f"\\boxed{{{text}}}"}]], ["$42$"])


def _hendrycks(text: str) -> object:
    from lm_eval.tasks.hendrycks_math import utils

    return utils.process_results({"solution": "\\boxed{42}"}, [f"$\\boxed{{{text}}}$"])


PEERS = {"math-verify": _math_verify, "trl": _trl, "lm-eval hendrycks_math": _hendrycks}
PATIENCE = 4.0  # seconds after which a grader counts as stalled


def tried(peer: str, text: str) -> str | None:
    """What becomes of a public grader: None where it gives a verdict in good time, else the
    exception, `stalls` or `dies`."""
    import multiprocessing
    import resource

    def work(pipe) -> None:
        import contextlib
        import io

        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                PEERS[peer](text)
            pipe.send(None)
        except BaseException as error:
            pipe.send(type(error).__name__)

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(PATIENCE) else "stalls"
    except EOFError:
        found = "dies"
    process.kill()
    process.join()
    return found


def main() -> None:
    import importlib.metadata
    import json
    import logging
    from pathlib import Path

    logging.disable()
    for peer in PEERS:
        PEERS[peer]("42")
    versions = {
        name: importlib.metadata.version(name)
        for name in ("math-verify", "trl", "lm_eval", "sympy")
    }
    broken = []
    for number, text in enumerate(HOSTILE):
        found = {peer: what for peer in PEERS if (what := tried(peer, text)) is not None}
        broken.append(found)
        print(number, repr(text[:30]), found, flush=True)
    found = {"versions": versions, "cases": digest(), "breaks": broken}
    Path(__file__).with_name("hostile.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
