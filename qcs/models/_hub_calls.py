"""Calls to the Hub: transient failures are retried, others end in one line that says what to do.

huggingface_hub retries some requests by itself: the first request of a download, parts of an upload, and interrupted
downloads, which it resumes. It does not retry the download of a file after a server error or a reset connection, nor
the creation of repositories and commits; those are retried here.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from huggingface_hub import constants, get_token
from huggingface_hub import errors as hub

from qcs.errors import InputError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0)  # seconds before each retry
LONGEST_WAIT = 60.0  # seconds that a server may ask to wait
PATIENCE = 30.0  # seconds after which no retry starts: huggingface_hub has then waited itself
BUSY = (408, 425, 429, *range(500, 600))
LOG_IN = "run 'hf auth login' or set HF_TOKEN"
# The HTTP library differs between versions of huggingface_hub; this is the base class of that library's errors.
HTTP_ERROR: type[Exception] = hub.HfHubHTTPError.__bases__[0]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def attempt(call: Callable[[], T], doing: str) -> T:
    """Return the result of a call to the Hub, retried after transient failures.

    Args:
        call: The call; it must be safe to repeat.
        doing: What it does, for messages: "fetch config.json of ORG/NAME".

    Raises:
        InputError: If the user can correct it: name, token, permission.
        OSError: If network, server or disk failed.
    """
    started, waits = time.monotonic(), iter(WAITS)
    while True:
        try:
            return call()
        except Exception as error:
            wait = next(waits, None)
            over = wait is None or time.monotonic() - started > PATIENCE or not _may_pass(error)
            pause = max(wait or 0.0, _asked_to_wait(error))
            if over or pause > LONGEST_WAIT:
                if (explained := explain(error, doing)) is error:
                    raise
                raise explained from error
            time.sleep(pause)


def explain(error: Exception, doing: str) -> Exception:
    """Return the error as one line for the user; errors unrelated to the Hub are returned unchanged."""
    for cause in _chain(error):
        if (explained := _explained(cause, f"cannot {doing}: ")) is not None:
            return explained
    return error


def _explained(error: BaseException, cannot: str) -> Exception | None:
    """Explain one cause of an error; None where it does not say what happened."""
    if isinstance(error, hub.OfflineModeIsEnabled):
        return OSError(
            f"{cannot}offline mode is on (HF_HUB_OFFLINE) and it is not in the cache, {constants.HF_HUB_CACHE}; "
            "unset HF_HUB_OFFLINE, or fetch it once with a connection"
        )
    if isinstance(error, hub.HFValidationError):
        return InputError(f"{cannot}a repository's name is ORG/NAME, optionally @REVISION, of letters, digits and -_.")
    if isinstance(error, hub.HfHubHTTPError):
        return _refused(error, cannot)
    if isinstance(error, hub.LocalEntryNotFoundError):
        return None if error.__cause__ else OSError(f"{cannot}it is not in the cache, {constants.HF_HUB_CACHE}")
    if isinstance(error, OSError) and error.errno in DISK:
        return OSError(
            f"{cannot}{error.strerror} ({error.filename or constants.HF_HUB_CACHE}); nothing half-written was kept; "
            "make room there, or set HF_HOME to a folder elsewhere"
        )
    if isinstance(error, HTTP_ERROR) or "Consistency check failed" in str(error):
        return _unconnected(error, cannot)
    return None


def _refused(error: hub.HfHubHTTPError, cannot: str) -> Exception:
    """Explain an error response of the server."""
    status, place = error.response.status_code, constants.ENDPOINT
    token = "your token may not see it" if get_token() else "no token is set"
    if isinstance(error, hub.GatedRepoError):
        return InputError(f"{cannot}its owner grants access on request; ask for it at {place}, then {LOG_IN}")
    if isinstance(error, hub.RevisionNotFoundError):
        return InputError(f"{cannot}the repository has no such revision; give a branch, a tag or a commit")
    if isinstance(error, hub.EntryNotFoundError):
        return InputError(f"{cannot}the repository has no such file; 'qcs push' writes what is expected")
    if isinstance(error, hub.RepositoryNotFoundError):
        return InputError(
            f"{cannot}{place} has no such repository, or it is private and {token} ({status}); check the name, or "
            f"{LOG_IN}"
        )
    said = f" ({error.server_message.splitlines()[0]})" if error.server_message else ""
    if status == 401:
        asks = "does not accept your token" if get_token() else "asks for a token"
        return InputError(f"{cannot}{place} {asks} (401){said}; {LOG_IN}")
    if status == 403:
        return InputError(f"{cannot}your token does not permit it (403){said}; it needs write access to push")
    if status == 429:
        return OSError(f"{cannot}{place} limits how much you may ask of it (429); wait a few minutes and try again")
    if status in BUSY:
        return OSError(f"{cannot}{place} has a problem of its own ({status}); try again later")
    return InputError(f"{cannot}{place} answered {status}{said}")


def _unconnected(error: BaseException, cannot: str) -> OSError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ in ("ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"):
        return OSError(f"{cannot}no connection to {constants.ENDPOINT} ({reason}); check the network and HF_ENDPOINT")
    return OSError(
        f"{cannot}the connection to {constants.ENDPOINT} broke off ({reason}); nothing half-done was kept, try again"
    )


def _may_pass(error: BaseException) -> bool:
    """Return whether a retry may help and huggingface_hub has not retried already."""
    if isinstance(error, (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled)):
        return False  # huggingface_hub retried the request for the metadata
    for cause in _chain(error):
        if isinstance(cause, hub.HfHubHTTPError):
            return cause.response.status_code in BUSY
        if isinstance(cause, HTTP_ERROR) or "Consistency check failed" in str(cause):
            return True
    return False


def _asked_to_wait(error: BaseException) -> float:
    """Return the seconds that the server asks to wait."""
    for cause in _chain(error):
        response: Any = getattr(cause, "response", None)
        if response is not None:
            stated = response.headers.get("Retry-After", "")
            return float(stated) if stated.isdecimal() else 0.0
    return 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
