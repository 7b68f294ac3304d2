"""Side-by-side measurements of this project and a peer, interleaved on one machine.

The last line of each benchmark's output is one JSON object with `ours`, `peer`, `ratio`, `spread`.
"""
