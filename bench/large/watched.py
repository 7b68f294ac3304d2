"""An evaluation by a scripted engine, and the memory of its process while it writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.large import synthetic
from eval.benchmarks import load
from eval.suite import evaluate
from ratiocine.engines import LoadedEngine, Request
from ratiocine.records import Completion


class _Watched:
    """A scripted engine that notes the resident set of its process before each batch."""

    name = "watched"

    def __init__(self, answers: synthetic.Answers) -> None:
        self.answers, self.sizes = answers, list[int]()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        import psutil

        for batch in self.answers.generate(requests):
            self.sizes.append(psutil.Process().memory_info().rss)
            yield batch


def memory_of_evaluation(files: list[str], out: Path, samples: int, characters: int) -> list[int]:
    """Run an evaluation; the resident set in bytes before each batch of answers."""
    config = synthetic.compose(files, out, samples)
    point = synthetic.Point("model-0", "mixed", 0.5)
    engine = _Watched(synthetic.Answers(point, load(config).problems, characters))
    evaluate(config, LoadedEngine(engine, None, shape=synthetic.SHAPE))
    return engine.sizes
