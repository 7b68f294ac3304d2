"""Everything of the project that needs a GPU, checked in one run: `python -m bench.gpu_check`."""
