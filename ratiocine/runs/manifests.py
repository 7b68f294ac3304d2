"""What a finished run states about itself: its manifest, and the records read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from ratiocine.cost import Shape
from ratiocine.records import JsonObject
from ratiocine.runs.hashes import SCHEMA_VERSION
from ratiocine.runs.student_info import PairSource, StudentInfo, record


@dataclass(frozen=True)
class Manifest:
    """`manifest.json` of a finished run; `facts` are the verb's own (`EvalFacts`, `PairsFacts`)."""

    verb: str
    hash: str
    identity: Mapping[str, object]
    """Hashed fields of the configuration."""
    inputs: Mapping[str, str]
    """Content hashes of the inputs, by name."""
    outputs: Mapping[str, str]
    """Content hashes of the artefacts, by file name."""
    seed: int | None
    versions: Mapping[str, str]
    """Of the packages in `versions.PACKAGES`."""
    revision: str | None
    """Commit of the checkout; ends in `+` where files had changed."""
    machine: str | None
    """Its GPUs or CPU cores."""
    schema_version: int
    """Of the folder as it was written."""
    facts: JsonObject

    @staticmethod
    def from_json(value: JsonObject) -> Manifest:
        """From the file; the one place that reads its keys."""
        own = {one.name for one in fields(Manifest)} - {"facts"}
        facts = {name: inner for name, inner in value.items() if name not in own}
        return record(Manifest, {"machine": None, **value, "facts": facts})

    @property
    def is_current(self) -> bool:
        """Whether the folder was written with this release's schema version."""
        return self.schema_version == SCHEMA_VERSION

    @property
    def evaluation(self) -> EvalFacts:
        """The facts of a run of `eval`."""
        assert self.verb == "eval"
        return EvalFacts.from_json(self.facts)

    @property
    def pairs(self) -> PairsFacts:
        """The facts of a run of `distill`."""
        assert self.verb == "distill"
        return record(PairsFacts, self.facts)

    @property
    def training(self) -> TrainingFacts:
        """The facts of a run of `train` or `rl`."""
        assert self.verb in ("train", "rl")
        sources = [record(PairSource, one) for one in self.facts.get("sources") or ()]
        return record(TrainingFacts, {**self.facts, "sources": sources})


@dataclass(frozen=True)
class Decoding:
    """Sampling parameters of an evaluation."""

    temperature: float
    top_p: float
    samples: int


@dataclass(frozen=True)
class Pilot:
    """A few answers that proposed the token limit of an evaluation (`max_new_tokens=auto`)."""

    max_new_tokens: int
    """The proposed limit."""
    n: int
    """Answers."""
    n_cut: int
    """Answers that did not end within the cap, such as loops."""
    cap: int
    """Tokens of an answer, at most."""
    tokens: float
    """Mean tokens of an answer under the proposed limit."""
    seconds: float


@dataclass(frozen=True)
class Relay:
    """Traces of another model that an evaluation went on from (`relay=`)."""

    source: str
    """Hash of the other evaluation."""
    at: float
    by: str
    force_answer: bool
    n_tokens: float
    """Mean tokens of the source up to the cut."""
    flops: float | None
    """Mean FLOPs of these, exact; None where the shape is unknown."""
    alone: int
    """Completions that went on from nothing, as there was no trace."""


@dataclass(frozen=True)
class EvalFacts:
    """The facts of a run of `eval`."""

    model: str
    max_new_tokens: int
    """Of a completion, the largest over the benchmarks."""
    decoding: Decoding
    seconds: float
    """Wall-clock time of generation and grading."""
    engine: str | None = None
    grader: str | None = None
    """Version of the grader."""
    student: StudentInfo | None = None
    hypotheses: Mapping[str, str] = field(default_factory=dict)
    """`gain` or `no_gain`, by family, as declared before training."""
    num_fewshot: Mapping[str, int] = field(default_factory=dict)
    """Solved examples before a question, by benchmark."""
    dropped: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)
    """Ids of dropped problems, by benchmark and reason."""
    dtype: str | None = None
    attention: str | None = None
    shape: Shape | None = None
    size: int | None = None
    """Number of weights."""
    chance: Mapping[str, float] = field(default_factory=dict)
    """Mean chance of a random choice, or of a guess among the answers that a question allows, to be
    right, by benchmark, and by `benchmark/category` of one with several; 0 where that is
    unknown."""
    pruned: str | None = None
    """Of a pruned model: from which, and to how many layers."""
    license: str | None = None
    """Of the model."""
    retries: Mapping[str, int] | None = None
    """Calls to a server that were repeated, by error; `probe`: of answered requests."""
    regraded_from: str | None = None
    """Hash of the evaluation with the same completions."""
    changed: Mapping[str, int] | None = None
    """Verdicts that regrading changed, by "before → after"."""
    pilot: Pilot | None = None
    """Of `max_new_tokens=auto`."""
    relay: Relay | None = None

    @staticmethod
    def from_json(value: JsonObject) -> EvalFacts:
        """From a manifest; the one place that reads its keys."""
        shape, pilot, relay = (value.get(name) for name in ("shape", "pilot", "relay"))
        records = {
            "student": StudentInfo.from_json(value.get("student")),
            "decoding": Decoding(**value["decoding"]),
            "shape": Shape(**shape) if shape else None,
            "pilot": Pilot(**pilot) if pilot else None,
            "relay": Relay(**relay) if relay else None,
            "retries": value.get("retries")
            or value.get("calls_made_again"),  # its name in schema 1
        }
        return record(EvalFacts, {**value, **records})

    def renamed(self, model: str) -> EvalFacts:
        """With this name of the starting model."""
        if self.student is None:
            return replace(self, model=model)
        return replace(self, student=self.student.renamed(model))

    def to_json(self) -> dict[str, object]:
        """For a manifest."""
        rare = ("retries", "regraded_from", "changed", "pilot")
        return {k: v for k, v in asdict(self).items() if v is not None or k not in rare}


@dataclass(frozen=True)
class PairsFacts:
    """The facts of a run of `distill` that other verbs read."""

    data: str
    n: int = 0
    mean_tokens: Mapping[str, float] = field(default_factory=dict)
    """Of the prompt and of each mode of a pair (`ift`, `reasoning`)."""
    tokenizer: str | None = None
    """Hash of the tokenizer of the stored token counts."""
    other_tokenizers: Mapping[str, str] = field(default_factory=dict)
    """Hashes of further tokenizers, by model name."""
    verify: str | None = None
    """How answers were chosen by verdict."""
    disjoint: Mapping[str, int | None] = field(default_factory=dict)
    """Numbers of pairs (`train`), of problems of the test split, and of `shared` ones."""
    teacher: str | None = None
    teacher_license: str | None = None
    license: str | None = None
    spent: Mapping[str, float] | None = None
    """Tokens and money of the teacher's answers."""


@dataclass(frozen=True)
class TrainingFacts:
    """The facts of a run of `train` or `rl` that other verbs read."""

    lr: float
    """Peak learning rate."""
    steps: int
    """Optimizer steps."""
    tokens: int
    train_flops: float
    """By the FLOPs formula of arXiv 2509.22193 (`ratiocine.cost`)."""
    train_flops_exact: float
    seconds: float
    size: int | None = None
    """Number of weights."""
    data: str | None = None
    share: float | None = None
    final_loss: float | None = None
    val_loss: float | None = None
    checkpoint_step: int | None = None
    """Step of the saved weights."""
    problems: int | None = None
    """Distinct problems of the training set."""
    sources: Sequence[PairSource] = ()
    license: str | None = None
    """Of the starting model."""
    group: Sequence[JsonObject] = ()
    """One group of rollouts, for display."""
    alarms: Sequence[str] = ()
