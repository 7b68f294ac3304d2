"""Engines that generate completions: transformers, vLLM and OpenAI-compatible servers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
