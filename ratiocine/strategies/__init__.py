"""Test-time strategies: how many completions a problem gets, and which of their answers is taken.

A strategy is a file here, and its settings a file in conf/strategy."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
