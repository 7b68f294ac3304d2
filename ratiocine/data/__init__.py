"""Problems: embedded families, hub data sets, local files and mixtures; contamination and token
counts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
