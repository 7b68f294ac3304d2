"""Licenses of models, which are those of the students trained from them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratiocine.runs import CONFIG, read_config

NOTICE = "NOTICE"
# What a license requires beside every model derived from its models, by name in conf/model. Gemma's
# terms of use, sections 1.1 and 3.1, count models trained on its models' answers among them.
NOTICES = {
    "gemma": "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms"
}


def license_of(license: str | None, path: str | None) -> str | None:
    """The license of a model with these settings (conf/model); of a student, that of its starting
    model or the one that its `NOTICE` states."""
    if license is not None or path is None:
        return license
    if (notice := Path(path) / NOTICE).is_file():
        text = notice.read_text(encoding="utf-8")
        return next((name for name, words in NOTICES.items() if words in text), None)
    if (Path(path).parent / CONFIG).is_file():
        model = read_config(Path(path).parent)["model"]
        return license_of(model.get("license"), model["path"])
    return None


def write_notice(folder: Path, licenses: Iterable[str | None]) -> None:
    """Write the notices that these licenses require into a model folder, in one file."""
    words = [NOTICES[name] for name in dict.fromkeys(licenses) if name in NOTICES]
    if words:
        (folder / NOTICE).write_text("\n".join(words) + "\n", encoding="utf-8")
