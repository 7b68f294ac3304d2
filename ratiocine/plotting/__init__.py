"""Figures: one style, panels, SVG for files and pages, and the figures of single runs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
