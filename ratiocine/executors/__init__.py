"""Where commands run: this process, several local processes, Slurm jobs or Ray tasks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
