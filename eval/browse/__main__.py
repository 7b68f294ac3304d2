"""python -m eval.browse DIR: browse the runs in a folder, in a web browser on this machine.

Lists the runs and their progress, and shows curves, pairs, answers, and any two evaluations
problem by problem. It reads alone: nothing in DIR is changed.
"""

from __future__ import annotations

import argparse
import errno
import socket
from importlib.util import find_spec
from pathlib import Path

from ratiocine import cli
from ratiocine.errors import BadInput

PORT = 6006  # that of TensorBoard
CLOSING = 2  # seconds that requests have to end after Ctrl-C


def main() -> None:
    options = parsed()
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise BadInput("python -m eval.browse needs an extra: pip install -e '.[browse]'")
    if not options.folder.is_dir():
        what = "is no folder" if options.folder.exists() else "does not exist"
        raise BadInput(f"{options.folder} {what}: give a folder with runs, such as runs")
    with listening(options.port) as listener:
        serve(options.folder, listener)


def parsed() -> argparse.Namespace:
    """The options; raises BadInput where a value is out of range."""
    parser = cli.argument_parser("eval.browse", __doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder with runs, such as runs")
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help=f"of 127.0.0.1; 0 for any that is free (default: {PORT})",
    )
    options = parser.parse_args()
    if not 0 <= options.port <= 65535:
        raise BadInput(f"--port {options.port} is no port; give one from 0 to 65535")
    return options


def listening(port: int) -> socket.socket:
    """A socket that listens on loopback. Raises BadInput where the port is not to be had."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = "is taken" if error.errno == errno.EADDRINUSE else f"is refused: {error.strerror}"
        raise BadInput(f"--port {port} {why}; give another one, or 0 for any free one") from None


def serve(folder: Path, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C."""
    import uvicorn

    from eval.browse.application import application

    config = uvicorn.Config(
        application(folder),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSING,
    )
    port = listener.getsockname()[1]
    print(f"http://127.0.0.1:{port}/ shows the runs in {folder}; Ctrl-C ends it", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    cli.leave("browse", main)
