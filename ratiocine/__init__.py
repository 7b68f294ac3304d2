"""Ratiocine: teach language models to reason, and find out when that is worth it."""

__version__ = "0.1.0"
