"""A Hub on this machine: as much of the Hugging Face Hub's HTTP interface as its own client needs, faults on order.

Repositories live in memory. Files whose name ends in `.safetensors` are stored by checksum, as the Hub's large files.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_local"
READ_ONLY_TOKEN = "hf_reader"


@dataclass
class Repository:
    """Files of every commit, and the commits that branches point to."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, changes: dict[str, bytes]) -> str:
        """Add a commit to a branch."""
        files = {**self.commits.get(self.branches.get(branch, ""), {}), **changes}
        content = json.dumps([len(self.commits), sorted((k, hashlib.sha1(v).hexdigest()) for k, v in files.items())])
        name = hashlib.sha1(content.encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Fault:
    """What goes wrong with requests: an error status, or a connection that is cut.

    Attributes:
        request: Pattern of "METHOD /path" of the requests.
        status: Status of the answer; None cuts the connection.
        after: Bytes of the file that are sent before the cut; None cuts before any answer.
        times: How many requests it strikes.
        headers: Headers of the answer.
    """

    request: str
    status: int | None = None
    after: int | None = None
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


class LocalHub(ThreadingHTTPServer):
    """The server; `requests` are those it has got, as "METHOD /path", with the range that was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def strike(self, request: str) -> Fault | None:
        """The fault that this request runs into."""
        for fault in self.faults:
            if fault.times and re.search(fault.request, request):
                fault.times -= 1
                return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def running_hub() -> Iterator[LocalHub]:
    """A Hub for as long as it is needed."""
    hub = LocalHub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalHub

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def _answer(self) -> None:
        self.path = unquote(urlsplit(self.path).path)
        self.sent_body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path}"
        self.server.requests.append(f"{request} {self.headers.get('Range', '')}".strip())
        self.fault = self.server.strike(request)
        if self.fault and self.fault.status:
            return self._json(self.fault.status, {"error": "made to fail"}, self.fault.headers)
        if self.fault and self.fault.after is None:
            return self._hang_up()
        for pattern, method in _ROUTES.items():
            if match := re.fullmatch(pattern, request):
                return getattr(self, method)(*match.groups())
        return self._json(404, {"error": f"the local Hub does not know {request}"})

    # What the client asks for

    def _create(self) -> None:
        wanted = json.loads(self.sent_body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self._may_write():
            return
        if name in self.server.repositories:
            return self._json(409, {"error": "exists already", "url": f"{self.server.url}/{name}"})
        repository = self.server.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        repository.commit("main", {".gitattributes": b""})
        return self._json(200, {"url": f"{self.server.url}/{name}"})

    def _validate(self) -> None:
        self._json(200, {"errors": [], "warnings": []})

    def _branch(self, name: str, branch: str) -> None:
        if (repository := self._repository(name)) is None or not self._may_write():
            return
        if branch in repository.branches:
            return self._json(409, {"error": "exists already"})
        repository.branches[branch] = repository.branches["main"]
        return self._json(200, {})

    def _preupload(self, name: str, revision: str) -> None:
        if (files := self._files(name, revision)) is None or not self._may_write():
            return
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": _oid(files[1][file["path"]]) if file["path"] in files[1] else None,
            }
            for file in json.loads(self.sent_body)["files"]
        ]
        self._json(200, {"files": modes})

    def _batch(self, name: str) -> None:
        objects = []
        for wanted in json.loads(self.sent_body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/large/{wanted['oid']}"}}
            objects.append({**wanted, **({} if wanted["oid"] in self.server.large else {"actions": upload})})
        self._json(200, {"transfer": "basic", "objects": objects})

    def _put(self, oid: str) -> None:
        if hashlib.sha256(self.sent_body).hexdigest() != oid:
            return self._json(400, {"error": "content and checksum differ"})
        self.server.large[oid] = self.sent_body
        return self._json(200, {})

    def _commit(self, name: str, revision: str) -> None:
        if (repository := self._repository(name)) is None or not self._may_write():
            return
        changes = {}
        for line in self.sent_body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changes[value["path"]] = self.server.large[value["oid"]]
        oid = repository.commit(revision, changes)
        self._json(200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def _info(self, name: str, revision: str | None = None) -> None:
        if (files := self._files(name, revision or "main")) is None:
            return
        siblings = [{"rfilename": path} for path in files[1]]
        self._json(200, {"id": name, "modelId": name, "sha": files[0], "siblings": siblings, "tags": []})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        if (files := self._files(name, revision)) is None:
            return
        commit, content = files[0], files[1].get(path)
        if content is None:
            return self._json(
                404, {"error": "no such entry"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            )
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{_oid(content) if not path.endswith(".safetensors") else hashlib.sha256(content).hexdigest()}"',
            "Content-Length": str(len(content) - start),
            "Accept-Ranges": "bytes",
            **({"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}),
        }
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and self.fault.after is not None:
            self.wfile.write(content[start : start + self.fault.after])
            return self._hang_up()
        self.wfile.write(content[start:])

    # What they share

    def _may_write(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == TOKEN:
            return True
        if token == READ_ONLY_TOKEN:
            self._json(403, {"error": "your token is for reading"})
        else:
            self._json(401, {"error": "Invalid username or password."})
        return False

    def _repository(self, name: str) -> Repository | None:
        repository = self.server.repositories.get(name)
        known = self.headers.get("Authorization", "").removeprefix("Bearer ") in (TOKEN, READ_ONLY_TOKEN)
        if repository is not None and (known or not repository.private):
            return repository
        if known:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        else:  # without credentials the Hub does not reveal which private repositories exist
            self._json(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        return None

    def _files(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if (repository := self._repository(name)) is None:
            return None
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            self._json(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, repository.commits[commit]

    def _json(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = b"" if self.command == "HEAD" else json.dumps(content).encode()
        self.send_response(status)
        for header, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(header, value)
        if "error" in content:
            self.send_header("X-Error-Message", content["error"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(2)


_NAME, _REVISION = r"([\w.-]+/[\w.-]+)", r"([^/]+)"
_ROUTES = {
    r"POST /api/repos/create": "_create",
    r"POST /api/validate-yaml": "_validate",
    rf"POST /api/models/{_NAME}/branch/{_REVISION}": "_branch",
    rf"POST /api/models/{_NAME}/preupload/{_REVISION}": "_preupload",
    rf"POST /{_NAME}\.git/info/lfs/objects/batch": "_batch",
    r"PUT /large/(\w+)": "_put",
    rf"POST /api/models/{_NAME}/commit/{_REVISION}": "_commit",
    rf"GET /api/models/{_NAME}": "_info",
    rf"GET /api/models/{_NAME}/revision/{_REVISION}": "_info",
    rf"(?:GET|HEAD) /{_NAME}/resolve/{_REVISION}/(.+)": "_resolve",
}


def _oid(content: bytes) -> str:
    """Name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
