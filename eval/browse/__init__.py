"""A local web page of runs: what is running, curves, pairs, answers and comparisons."""
