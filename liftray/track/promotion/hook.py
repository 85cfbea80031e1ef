"""Notifies others of a new champion: runs a command, or posts to an address.

Invariant: it runs after the move and never undoes it. A failure is reported, but neither an address nor the output of a
command is shown, since either may hold a secret. Flow: registry -> [this].
"""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from liftray.errors import ConfigError
from liftray.progress import show_line
from liftray.track.promotion.policy import Hook


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is reported, not followed: the message may be for this address only."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def check(hook: Hook) -> None:
    """Refuse a hook that cannot be called, before anything is moved.

    Raises:
        ConfigError: The address is no http(s) one, or its environment variable is empty.
    """
    if hook.webhook_env and not os.environ.get(hook.webhook_env):
        raise ConfigError(f"hook.webhook_env names {hook.webhook_env}, which is not set", remedy="set it")
    address = _address(hook)
    if address is not None and (
        urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname
    ):
        raise ConfigError("the webhook is no http(s) address", remedy="correct hook.webhook")


def fire(hook: Hook, message: Mapping[str, Any]) -> dict[str, str]:
    """Call what the policy names.

    Args:
        hook: Command and address; either may be missing.
        message: What happened, JSON-ready.

    Returns:
        `command` and `webhook`, where the policy names them: `done`, or what went wrong.
    """
    content = json.dumps(message).encode()
    outcome: dict[str, str] = {}
    if hook.command:
        outcome["command"] = _run(hook, content)
    if address := _address(hook):
        outcome["webhook"] = _post(address, content, hook.timeout_s)
    for kind, result in outcome.items():
        if result != "done":
            show_line(f"The {kind} after the promotion failed ({result}); the promotion is unchanged")
    return outcome


def _address(hook: Hook) -> str | None:
    return os.environ.get(hook.webhook_env) if hook.webhook_env else hook.webhook


def _run(hook: Hook, content: bytes) -> str:
    try:
        done = subprocess.run(
            hook.command, input=content, capture_output=True, timeout=hook.timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end in {hook.timeout_s:g} s"
    except OSError as error:
        return f"cannot run {hook.command[0]} ({error.strerror})"
    return "done" if done.returncode == 0 else f"exit code {done.returncode}"


def _post(address: str, content: bytes, timeout_s: float) -> str:
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirect()).open(request, timeout=timeout_s):
            return "done"
    except urllib.error.HTTPError as error:
        return f"answer {error.code}"
    except (OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"
