"""Requests in the form in which chat-completions servers take them."""

from __future__ import annotations

from typing import Any

from ratiocine.engines.config import OpenAIConfig
from ratiocine.engines.interface import Request
from ratiocine.prompts import CONTROL_TOKEN

Job = tuple[Request, int]  # request, sample


def payload(config: OpenAIConfig, job: Job) -> dict[str, Any]:
    """The body of the call for one sample, with the parameters that the configuration leaves out,
    renames and adds."""
    request, sample = job
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [dict(message) for message in request.messages],
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "seed": request.seed_of(sample),
    }
    if request.temperature:  # 1 too: a server has its own default
        body["top_p"] = request.top_p
    if request.thinking is not None:
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    renamed = config.rename_params or {}
    body = {
        renamed.get(name, name): value
        for name, value in body.items()
        if name not in config.drop_params
    }
    for name, value in (config.extra_body or {}).items():
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = {**body[name], **value} if both else value
    return body


def control_token(request: Request) -> str | None:
    """The first control token in the messages: a server would not take it for text."""
    for message in request.messages:
        if found := CONTROL_TOKEN.search(message["content"]):
            return found[0]
    return None
