"""Files of records: pairs as Parquet, scored completions and other rows as checksummed lines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
