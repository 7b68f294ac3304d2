"""Run directories: hashes, manifests, locks, lineage of students, tracking and publishing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
