"""Metrics of training: in the run's own files, in trackers, and on validation problems."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import ROOT, command, done

from ratiocine.models import ModelConfig, load_model, load_tokenizer
from ratiocine.records import MODES
from ratiocine.rendering import Rendering
from ratiocine.stores import read_pairs
from train.batches import row_of
from train.collation import collate

RUN = ("ratio=0.5", "model=tiny", "batch_size=8", "epochs=2", "save_steps=3", "val_size=8")
KEYS = {
    "loss",
    "loss_ift",
    "loss_reasoning",
    "lr",
    "grad_norm",
    "tokens",
    "tokens_per_second",
    "mfu",
    "flops",
    "flops_paper",
    "memory_gb",
}


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def records(file: Path) -> list:
    """The records of a W&B file: LevelDB's log format (blocks of 32 KiB, records in parts), a
    protobuf each."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, found, part, at = file.read_bytes(), [], b"", 7
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(part))
            part = b""
    return found


@pytest.fixture(scope="module")
def tracked(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tracked") / "run"
    words = (
        "tracker=wandb",
        "project=study",
        "val_samples=2",
        "val_max_new_tokens=5",
        "checkpoint=best",
        "lr=1e-2",
    )
    done("train", *RUN, *words, f"pairs={pairs}", f"out={out}")
    return out


def test_wandbs_file_holds_what_the_local_ones_hold(tracked: Path) -> None:
    file = next((tracked / "wandb").glob("offline-run-*/*.wandb"))
    found = records(file)
    local = rows_of(tracked / "metrics.jsonl")
    history: dict[int, dict] = {}
    for record in found:
        if record.WhichOneof("record_type") == "history":
            row = {
                item.key or ".".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            history.setdefault(row["_step"], {}).update(row)
    assert sorted(history) == [row["step"] for row in local] == list(range(1, 9))
    for row in local:
        assert row.keys() >= KEYS
        assert {key: history[row["step"]].get(key) for key in row} == row
    run = next(record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group) == ("study", "tiny mixed")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    manifest = json.loads((tracked / "manifest.json").read_text())
    assert config["run"] == manifest["hash"] == run.run_id
    assert config["inputs"] == manifest["inputs"]
    assert config["examples_hash"] == manifest["examples_hash"]
    assert (config["ratio"], config["scenario"], config["size"]) == (0.5, "mixed", 107_072)
    samples = rows_of(tracked / "samples.jsonl")
    media = [
        json.loads(p.read_text()) for p in sorted((tracked / "wandb").rglob("samples_*.table.json"))
    ]
    assert sorted(tuple(row) for table in media for row in table["data"]) == sorted(
        tuple(row.values()) for row in samples
    )
    assert all(
        table["columns"] == ["step", "id", "prompt", "answer", "tokens", "reference"]
        for table in media
    )


def test_an_offline_run_ends_with_its_folder_and_keeps_the_student(
    pairs: Path, tmp_path: Path
) -> None:
    words = ("max_steps=1", "tracker=wandb", "entity=team", "log_model=true")
    said = done("train", *RUN, *words, f"pairs={pairs}", f"out={tmp_path / 'run'}")
    line = next(line for line in said.splitlines() if "wandb sync " in line)
    folder = Path(line.split("wandb sync ")[1])
    (file,) = (ROOT / folder).glob("*.wandb")
    found = records(file)
    run = next(record.run for record in found if record.WhichOneof("record_type") == "run")
    assert run.entity == "team"
    kinds = [
        record.request.log_artifact.artifact.type
        for record in found
        if record.WhichOneof("record_type") == "request"
    ] + [record.artifact.type for record in found if record.WhichOneof("record_type") == "artifact"]
    assert "model" in kinds


def test_samples_are_of_validation_problems_at_every_checkpoint(tracked: Path) -> None:
    samples = rows_of(tracked / "samples.jsonl")
    assert [row["step"] for row in samples] == [3, 3, 6, 6, 8, 8]
    held = json.loads((tracked / "mixture.json").read_text())["validation"]
    assert {row["id"] for row in samples} == set(held[:2])
    assert all(0 < row["tokens"] <= 5 and row["prompt"] and row["reference"] for row in samples)


def test_costs_add_up(tracked: Path) -> None:
    rows, manifest = (
        rows_of(tracked / "metrics.jsonl"),
        json.loads((tracked / "manifest.json").read_text()),
    )
    assert (
        manifest["train_flops"]
        == rows[-1]["flops_paper"]
        > rows[-1]["flops"]
        == manifest["train_flops_exact"]
        > 0
    )
    for key in ("flops", "flops_paper", "tokens"):
        assert all(a[key] < b[key] for a, b in pairwise(rows))
    assert all(0 < row["mfu"] < 1 for row in rows)


def loss(model: Path, pairs: Path, names: list[str], mode: str) -> float:
    """Of these pairs by plain transformers: mean over all their supervised tokens."""
    local = ModelConfig(name="local", path=str(model))
    tokenizer, student = load_tokenizer(local), load_model(local, "cpu")
    by_id = {pair.id: pair for pair in read_pairs(pairs / "pairs.parquet")}
    total = n = 0
    for name in names:
        row = row_of(Rendering(tokenizer), by_id[name], mode)
        with torch.no_grad():
            total += student(**collate([row])).loss.item() * len(row.completion)
        n += len(row.completion)
    return total / n


def test_the_best_checkpoint_has_the_lowest_validation_loss(tracked: Path, pairs: Path) -> None:
    rows, mixture = (
        rows_of(tracked / "metrics.jsonl"),
        json.loads((tracked / "mixture.json").read_text()),
    )
    manifest = json.loads((tracked / "manifest.json").read_text())
    taken = {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
    assert sorted(taken) == [3, 6, 8]
    best = min(taken, key=taken.__getitem__)
    assert manifest["checkpoint_step"] == best
    assert not set(mixture["validation"]) & set(mixture["order"])
    assert len(mixture["validation"]) == 8
    at_best = next(row for row in rows if row["step"] == best)
    losses = [loss(tracked / "model", pairs, mixture["validation"], mode) for mode in MODES]
    assert [at_best["val_loss_ift"], at_best["val_loss_reasoning"]] == pytest.approx(
        losses, abs=1e-4
    )
    assert at_best["val_loss"] == manifest["val_loss"] == pytest.approx(sum(losses) / 2, abs=1e-4)
    assert not (tracked / "checkpoints").exists()


@pytest.mark.parametrize("lora", ["false", "true"])
def test_an_earlier_checkpoint_can_be_the_best(lora: str, pairs: Path, tmp_path: Path) -> None:
    """A rate that grows until nothing is left of the student."""
    stages = "scenario.stages=[{lr: 1e-3},{lr: 1000.0}]"
    words = (
        *RUN,
        "epochs=1",
        "scenario.schedule=each",
        stages,
        "checkpoint=best",
        "save_total_limit=1",
        f"lora={lora}",
        f"pairs={pairs}",
    )
    done("train", *words, f"out={tmp_path / 'run'}")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["checkpoint_step"] == 3 < manifest["steps"]
    held = json.loads((tmp_path / "run" / "mixture.json").read_text())["validation"]
    losses = [loss(tmp_path / "run" / "model", pairs, held, mode) for mode in MODES]
    assert manifest["val_loss"] == pytest.approx(sum(losses) / 2, abs=1e-4)


def test_validation_problems_are_the_same_at_every_ratio(
    tracked: Path, pairs: Path, tmp_path: Path
) -> None:
    done("train", *RUN, "ratio=0", "max_steps=1", f"pairs={pairs}", f"out={tmp_path / 'run'}")
    held = [
        json.loads((out / "mixture.json").read_text())["validation"]
        for out in (tracked, tmp_path / "run")
    ]
    assert held[0] == held[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("checkpoint=best",), "checkpoint='best' is chosen by validation loss"),
        (
            ("val_samples=3", "val_size=2"),
            "val_samples=3: answers are sampled for validation problems, of which there are 2",
        ),
        (("val_size=40",), "val_size=40: there are 40 pairs, and some must be left"),
        (("tracker=wb",), "tracker='wb'"),
        (("entity=team",), "entity=team is for tracker=wandb, not tracker=none"),
        (("lora_rank=8",), "lora_rank=8 is for adapters; lora=true trains them"),
        (
            ("preflight=true", "push_to_hub=me/x"),
            "push_to_hub=me/x: preflight and export make no student to upload",
        ),
    ],
)
def test_bad_input(words: tuple[str, ...], message: str, pairs: Path, tmp_path: Path) -> None:
    refused = command(
        "train", "ratio=0.5", "model=tiny", f"pairs={pairs}", *words, f"out={tmp_path / 'run'}"
    )
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_tensorboard_and_trackio_are_told_the_same(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("tensorboard", "trackio"):
        done(
            "train",
            *RUN,
            "max_steps=3",
            "val_samples=2",
            "val_max_new_tokens=4",
            f"tracker={name}",
            f"pairs={pairs}",
            f"out={tmp_path / name}",
        )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard" / "tensorboard"))
    events.Reload()
    local = rows_of(tmp_path / "tensorboard" / "metrics.jsonl")
    for key in KEYS - {"loss_ift", "loss_reasoning"}:
        assert [(e.step, e.value) for e in events.Scalars(key)] == [
            (r["step"], pytest.approx(r[key], rel=1e-5)) for r in local
        ]
    assert "samples/text_summary" in events.Tags()["tensors"]
    import sqlite3

    store = sqlite3.connect(next((tmp_path / "trackio").rglob("*.db")))
    logged = {
        step: json.loads(row) for step, row in store.execute("select step, metrics from metrics")
    }
    local = rows_of(tmp_path / "trackio" / "metrics.jsonl")
    assert {step: row["loss"] for step, row in logged.items() if "loss" in row} == {
        row["step"]: row["loss"] for row in local
    }
