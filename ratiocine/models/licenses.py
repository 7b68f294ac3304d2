"""Licenses of models, which are those of the students trained from them."""

from __future__ import annotations

import re
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
    """The license of a model with these settings (conf/model); without one, that which the folder's
    `NOTICE` or model card (`README.md`) states, and of a student that of its starting model."""
    if license is not None or path is None:
        return license
    if (notice := Path(path) / NOTICE).is_file():
        text = notice.read_text(encoding="utf-8")
        return next((name for name, words in NOTICES.items() if words in text), None)
    if (Path(path).parent / CONFIG).is_file():
        model = read_config(Path(path).parent)["model"]
        return license_of(model.get("license"), model["path"])
    return _stated(Path(path) / "README.md")


def _stated(card: Path) -> str | None:
    """The license in the head of a model card of the hub; None without one."""
    import yaml

    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    try:
        values = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return None
    values = values if isinstance(values, dict) else {}
    license = values.get("license")
    license = values.get("license_name", license) if license == "other" else license
    return license if isinstance(license, str) else None


def write_notice(folder: Path, licenses: Iterable[str | None]) -> None:
    """Write the notices that these licenses require into a model folder, in one file."""
    words = [NOTICES[name] for name in dict.fromkeys(licenses) if name in NOTICES]
    if words:
        (folder / NOTICE).write_text("\n".join(words) + "\n", encoding="utf-8")
