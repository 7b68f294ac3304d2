"""A real Slurm of one node."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What its clients need in their environment."""
    pytest.importorskip("submitit", reason="needs submitit")
    if lacking := slurm.missing():
        pytest.skip(lacking)
    with slurm.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.mark.slow
def test_two_tasks_of_a_job_run(cluster: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/sh\n#SBATCH --nodes=1 --ntasks-per-node=2 --cpus-per-task=1\nsrun sh -c 'echo task $SLURM_PROCID'\n"
    )
    words = ["sbatch", "--wait", f"--output={tmp_path / 'out'}", str(script)]
    result = subprocess.run(words, env=cluster, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert sorted((tmp_path / "out").read_text().splitlines()) == ["task 0", "task 1"]
