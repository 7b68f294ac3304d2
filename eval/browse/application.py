"""The web application: routes, headers, and one line for every error.

It answers GET from this machine alone: the server listens on loopback, and a request that names
another host is refused, so that no page elsewhere can reach it by a name of its own that resolves
to 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from eval.browse.run_folders import UnknownRun, problem_of
from eval.browse.views import Query, Views
from ratiocine.errors import BadInput

HOSTS = ["127.0.0.1", "localhost"]
HEADERS = {
    # The styles of figures stand in attributes.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOT_GET, ALLOW = "only GET is answered\n", {"Allow": "GET, HEAD"}
SCRIPT = """// Load a page with running runs again, but not while it is hidden or typed in.
setInterval(() => {
  if (!document.hidden && !document.activeElement.matches("input, select")) location.reload();
}, 10000);
"""
Handler = Callable[[Request], Response]


def application(root: Path) -> Starlette:
    """The application for the runs in a folder."""
    views = Views(root)
    pages: dict[str, Callable[[Query], str]] = {
        "/": views.index,
        "/run": views.run,
        "/answers": views.answers,
        "/pairs": views.pairs,
        "/compare": views.compare,
    }

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return HTMLResponse(views.error(error.detail), error.status_code)
        text = views.error(problem_of(error, views.runs.root))
        return HTMLResponse(text, 404 if isinstance(error, UnknownRun) else 422)

    routes = [Route(path, _handler(page), methods=["GET"]) for path, page in pages.items()]
    routes.append(Route("/refresh.js", _script, methods=["GET"]))
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(BaseHTTPMiddleware, dispatch=_guarded),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        ],
        exception_handlers=dict.fromkeys((HTTPException, UnknownRun, BadInput, OSError), failed),
    )


def _handler(page: Callable[[Query], str]) -> Handler:
    def handle(request: Request) -> Response:
        return HTMLResponse(page(request.query_params))

    return handle


def _script(request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript")


async def _guarded(request: Request, respond: Callable[[Request], Awaitable[Response]]) -> Response:
    """The response with the headers of every response; 405 for a method that could change
    something."""
    allowed = request.method in ("GET", "HEAD")
    response = await respond(request) if allowed else Response(NOT_GET, 405, ALLOW)
    response.headers.update(HEADERS)
    return response
