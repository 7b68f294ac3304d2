"""Engines: `continue_(requests)` → traces. One module per backend."""
