"""What the model of an evaluation goes on from in a relay: the beginnings of another model's
traces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from eval.config import Config, RelayConfig
from ratiocine import cli, cost, models
from ratiocine.completion_parts import CLOSING, OPEN
from ratiocine.cuts import Decode, cut, token_ends
from ratiocine.engines import Request
from ratiocine.errors import BadInput
from ratiocine.prompts import user_text
from ratiocine.records import Problem, ScoredCompletion
from ratiocine.runs import Manifest, Relay, check_finished, read_config
from ratiocine.stores import read_completions

Asked = tuple[str, int]  # a problem by key, and the number of a completion


@dataclass(frozen=True)
class Handover:
    """What one completion goes on from."""

    source: ScoredCompletion
    prefix: str
    """Empty where the receiver answers alone."""
    n_tokens: int
    """Tokens of the source up to the cut."""


@dataclass(frozen=True)
class Handovers:
    """Those of an evaluation; none where it is no relay."""

    relay: RelayConfig | None = None
    source: Manifest | None = None
    by_request: Mapping[Asked, Handover] | None = None

    def requests(self, requests: Iterable[Request], *, opened: bool = False) -> list[Request]:
        """The requests with their prefixes, one for each completion; `opened` states that prompts
        end inside a think block. None for those that the source has answered in full."""
        if self.by_request is None:
            return list(requests)
        if self.relay is not None and self.relay.at == 1:
            return []
        return [
            replace(one, samples=(sample,), prefix=self._begun((one.id, sample), opened))
            for one in requests
            for sample in one.samples
        ]

    def _begun(self, asked: Asked, opened: bool) -> str:
        assert self.by_request is not None
        prefix = self.by_request[asked].prefix
        return prefix.removeprefix(OPEN).removeprefix("\n") if opened else prefix

    def whole(self, done: Iterable[Asked]) -> list[ScoredCompletion]:
        """The completions that the source has answered in full, but those `done`: no token of
        theirs is the receiver's."""
        if self.by_request is None or self.relay is None or self.relay.at < 1:
            return []
        known = set(done)
        return [
            replace(
                one.source,
                sample=sample,
                n_prompt=0,
                n_completion=0,
                n_think=0,
                n_answer=0,
                seconds=0.0,
                expected=None,
                token_ids=None,
                logprobs=None,
            )
            for (key, sample), one in self.by_request.items()
            if (key, sample) not in known
        ]

    @property
    def warning(self) -> str | None:
        """A line about answers that the receiver gives alone; None where it gives none so."""
        if self.by_request is None or self.relay is None or not 0 < self.relay.at < 1:
            return None
        n, alone = len(self.by_request), self._alone
        if not alone:
            return None
        return (
            f"warning: {alone} of {n} answers of {self.relay.source} have no trace, and the model "
            "answers these alone"
        )

    @property
    def _alone(self) -> int:
        return sum(not one.prefix for one in (self.by_request or {}).values())

    def facts(self) -> Relay | None:
        """What the manifest tells of the relay."""
        if self.by_request is None or self.relay is None or self.source is None:
            return None
        facts, handed = self.source.evaluation, list(self.by_request.values())
        flops = None
        if facts.shape is not None:
            shape = facts.shape
            flops = fmean(
                cost.exact_generation(shape, one.source.n_prompt, one.n_tokens)
                if one.n_tokens
                else 0
                for one in handed
            )
        return Relay(
            source=self.source.hash,
            at=self.relay.at,
            by=self.relay.by,
            force_answer=self.relay.force_answer,
            n_tokens=round(fmean(one.n_tokens for one in handed), 2),
            flops=flops,
            alone=self._alone,
        )


def handovers(config: Config, problems: Mapping[str, Problem]) -> Handovers:
    """What the source's completions of these problems give.

    Raises BadInput where the source is no finished evaluation, lacks a problem, asked in other
    words, or was evaluated without what the cut needs.
    """
    relay = config.relay
    if relay is None:
        return Handovers()
    folder = Path(relay.source)
    manifest = check_finished(folder, "eval")
    if read_config(folder).get("strategy"):
        raise BadInput(f"relay.source={folder}: an evaluation with strategy=; give one without")
    decode = None
    if relay.by != "steps" and 0 < relay.at < 1:
        model = cli.check(Config, read_config(folder)).model
        if model.kind == "served":
            raise BadInput(
                f"relay.by={relay.by}: {folder} is of a served model, whose tokens are not known; "
                "relay.by=steps cuts its text"
            )
        decode = models.load_tokenizer(model).decode
    n = manifest.evaluation.decoding.samples
    if n > 1 and n < config.samples:
        raise BadInput(f"samples={config.samples}: {folder} has {n} completions of each problem")
    found: dict[Asked, Handover] = {}
    for row in read_completions(folder):
        if row.key not in problems:
            continue
        if row.prompt != user_text(problems[row.key]):
            raise BadInput(f"relay.source={folder} asked {row.key} in other words")
        samples = range(config.samples) if n == 1 else (row.sample,)
        for sample in samples:
            if sample < config.samples:
                found[row.key, sample] = _handed(relay, row, decode)
    missing = [key for key in problems if (key, 0) not in found]
    if missing:
        raise BadInput(
            f"relay.source={folder} lacks {len(missing)} of {len(problems)} problems, such as "
            f"{missing[0]}; evaluate it on the same benchmarks, without a smaller limit"
        )
    handed = Handovers(relay, manifest, found)
    if 0 < relay.at < 1 and not any(one.prefix for one in found.values()):
        raise BadInput(
            f"relay.source={folder}: not one of its answers has a trace to go on from; take a "
            "source that thinks"
        )
    return handed


def _handed(relay: RelayConfig, row: ScoredCompletion, decode: Decode | None) -> Handover:
    if relay.at == 0 or not row.answered:
        return Handover(row, "", 0)
    if relay.at == 1:
        return Handover(row, row.completion, row.n_completion)
    ids: Sequence[int] = row.token_ids or ()
    if relay.by != "steps" and not ids:
        raise BadInput(f"relay.by={relay.by}: {relay.source} has no tokens; relay.by=steps does")
    if relay.by == "surprisal" and row.logprobs is None:
        raise BadInput(
            f"relay.by=surprisal: {relay.source} has no log-probabilities; evaluate it with "
            "logprobs=true, or take relay.by=tokens"
        )
    text = OPEN + "\n" + row.completion if row.opened else row.completion
    if row.opened and relay.by != "steps":
        raise BadInput(
            f"relay.by={relay.by}: the chat template of {relay.source} opens the trace itself, "
            "which is cut by relay.by=steps alone"
        )
    prefix = cut(
        text, relay.at, by=relay.by, token_ids=ids, logprobs=row.logprobs or (), decode=decode
    )
    n_tokens = _tokens(text, prefix, ids, decode, row.n_completion)
    if relay.force_answer and prefix:
        prefix = prefix.rstrip() + CLOSING
    return Handover(row, prefix, n_tokens)


def _tokens(text: str, prefix: str, ids: Sequence[int], decode: Decode | None, n: int) -> int:
    """Tokens of a completion of `n` up to the end of its prefix; by characters where they are not
    known."""
    if not prefix:
        return 0
    if decode is None or not ids:
        return round(n * len(prefix) / len(text))
    return min(n, bisect_left(token_ends(text, ids, decode), len(prefix)) + 1)
