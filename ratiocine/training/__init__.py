"""Training shared by SFT and reinforcement learning: session, trainer, loss, precision,
checkpoints, logs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
