"""python -m bench.wheels collect|install DIR: the packages of `make gpu-check`, without a network.

`collect` fills a folder with wheels on a machine with a network, of the same operating system,
processor and Python version as the one with the GPU; `install` reads nothing else. Packages that
are installed already, a torch with CUDA above all, are kept. Needs Python and pip only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Checked if installed; each is collected and installed by itself, so that one without a wheel
# costs only its own checks.
OPTIONAL = ("trl>=1.16", "deepspeed>=0.19", "bitsandbytes>=0.46", "liger-kernel", "flash-attn")
NO_DEPENDENCIES = ("flash-attn",)  # of torch and einops, which only its own layers use
NO_BUILD = ("flash-attn",)  # its build needs the CUDA toolkit, and hours


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *words, "--disable-pip-version-check", "--quiet"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def requirements() -> list[str]:
    """Of the project itself."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    return found


def name_of(requirement: str) -> str:
    return requirement.partition(">")[0].partition("=")[0].strip()


def alone(requirement: str) -> list[str]:
    """Options of an optional package."""
    name = name_of(requirement)
    found = ["--no-deps"] if name in NO_DEPENDENCIES else []
    return [*found, "--only-binary", name] if name in NO_BUILD else found


def collect(folder: Path, more: list[str]) -> int:
    """Download the wheels, and build those of packages without one."""
    folder.mkdir(parents=True, exist_ok=True)
    constraints = ["-c", "constraints.txt"]
    wheel = ("wheel", "--wheel-dir", str(folder), "--find-links", str(folder))
    done = pip(*wheel, *constraints, *requirements())
    if done.returncode:
        raise SystemExit(f"pip failed:\n{done.stderr[-3000:]}")
    for requirement in (*OPTIONAL, *more):
        done = pip(*wheel, *constraints, *alone(requirement), requirement)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
            print(f"left out: {requirement} ({reason[0]})")
    files = sorted(folder.glob("*.whl"))
    print(*(file.name for file in files), sep="\n")
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} wheels, {size / 1e9:.2f} GB, in {folder}")
    return 0


def install(folder: Path, more: list[str]) -> int:
    """Install what is missing here from the folder."""
    if not any(folder.glob("*.whl")):
        raise SystemExit(f"{folder} holds no wheels: make gpu-wheels DIR={folder}")
    source = ("install", "--no-index", "--find-links", str(folder.resolve()))
    done = pip(*source, *requirements())
    if done.returncode:
        raise SystemExit(f"pip failed:\n{done.stderr[-3000:]}")
    for requirement in (*OPTIONAL, *more):
        if pip(*source, *alone(requirement), requirement).returncode:
            print(f"not in {folder}: {requirement}")
    return 0


def main() -> int:
    # Not `cli.argument_parser`: no package may be installed yet.
    parser = argparse.ArgumentParser(
        prog="python -m bench.wheels", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("action", choices=("collect", "install"))
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--more", nargs="+", default=[], metavar="PACKAGE", help="further packages, such as vllm"
    )
    options = parser.parse_args()
    action = collect if options.action == "collect" else install
    return action(options.folder, options.more)


if __name__ == "__main__":
    sys.exit(main())
