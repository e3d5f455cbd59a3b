"""A Hugging Face hub on this machine: the endpoints that its client calls to push a model's files and to fetch them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

TOKEN = "hf_fake"


class FakeHub:
    """What the hub holds and was asked.

    `files` are those of each repository's last commit; `private` the repositories that want a token; `cut_off` gives
    the part of an address at which the connection is closed without an answer, or in the middle of a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.cut_off: str | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def sha(self, repo: str) -> str:
        content = b"".join(name.encode() + data for name, data in sorted(self.files[repo].items()))
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()

    def create(self, wanted: dict, token: str | None) -> tuple[int, object]:
        if token != TOKEN:
            return 401, {"error": "Invalid username or password."}
        repo = f"{wanted['organization']}/{wanted['name']}"
        self.files.setdefault(repo, {})
        self.private |= {repo} if wanted.get("private") or wanted.get("visibility") == "private" else set()
        return 200, {"url": f"{self.address}/{repo}", "name": repo}

    def commit(self, repo: str, lines: bytes, token: str | None) -> tuple[int, object]:
        if token != TOKEN:
            return 401, {"error": "Invalid username or password."}
        for line in map(json.loads, lines.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            else:
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
        return 200, {"commitUrl": f"{self.address}/{repo}/commit/{self.sha(repo)}", "commitOid": self.sha(repo)}

    def tree(self, repo: str) -> list[dict]:
        return [
            {
                "type": "file",
                "path": name,
                "size": len(data),
                "oid": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
            }
            for name, data in self.files[repo].items()
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self._is_cut_off():
            return
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.path == "/api/repos/create":
            self._answer(*self.hub.create(json.loads(body), self._token()))
        elif parts[-2:-1] == ["preupload"]:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif parts[-2:-1] == ["commit"]:
            self._answer(*self.hub.commit("/".join(parts[2:4]), body, self._token()))
        else:
            self._answer(200, {})  # validate-yaml

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        repo = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if self._is_cut_off() and parts[0] == "api":
            return
        if repo not in self.hub.files or (repo in self.hub.private and self._token() != TOKEN):
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif "tree" in parts:
            self._answer(200, self.hub.tree(repo))
        elif parts[0] == "api":
            wanted = parts[5] if "revision" in parts else "main"
            if wanted not in ("main", self.hub.sha(repo)):
                self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
                return
            siblings = [{"rfilename": name} for name in self.hub.files[repo]]
            self._answer(
                200, {"id": repo, "modelId": repo, "sha": self.hub.sha(repo), "siblings": siblings, "tags": []}
            )
        else:
            self._file(repo, "/".join(parts[4:]))

    do_HEAD = do_GET

    def _file(self, repo: str, name: str) -> None:
        if name not in self.hub.files[repo]:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        data = self.hub.files[repo][name]
        tag = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        cut_off = self.command == "GET" and self._is_cut_off()
        self._send(
            200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": self.hub.sha(repo)}, len(data) // 2 if cut_off else None
        )

    def _is_cut_off(self) -> bool:
        self.hub.asked.append(f"{self.command} {self.path}")
        self.close_connection = is_it = bool(self.hub.cut_off and self.hub.cut_off in self.path)
        return is_it

    def _token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str], sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:sent])

    def log_message(self, *about: object) -> None:
        pass


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub of the test's own, with the token `hf_fake`; the client's cache lies in the test's folder."""
    from huggingface_hub import constants

    hub = FakeHub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()
