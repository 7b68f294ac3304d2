"""Side-by-side measurements: our code and a peer's, interleaved in one process tree.

The last line that each prints is one JSON object.
"""
