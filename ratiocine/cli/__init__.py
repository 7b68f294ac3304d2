"""The command line of all verbs and tools: arguments → checked configuration → run → exit code."""

import logging
import os
import sys

import lazy_loader

# Libraries read these when they are imported.
os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, so that errors can be printed as one line
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not sys.stderr.isatty():
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# bitsandbytes, which peft imports, warns about an optional kernel at every start.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
