"""Statistics: intervals, paired comparisons over seeds, sample sizes, Pareto fronts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
