"""The identity of the grader: a version kept by hand.

Bump `GRADER_VERSION` in the commit that changes a verdict: `tests/test_grader_version.py` compares
the verdicts of a stored corpus and fails if they changed without a bump. Evaluations of different
versions are not compared; `eval.regrade` scores stored completions again.
"""

GRADER_VERSION = "5"
# Source hashes that earlier releases recorded instead of a version, by the version with the same
# verdicts.
EARLIER = {"befb228db9733d3a": "1"}
