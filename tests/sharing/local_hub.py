"""A small Hugging Face Hub on this machine: what huggingface_hub asks of one to make repositories, commit and download.

    with LocalHub(folder, token="hf_...") as hub:
        subprocess.run(..., env={"HF_ENDPOINT": hub.url, "HF_TOKEN": token})
        hub.files("datasets/owner/name")

Files are kept in memory. A private repository is there only for who brings the token, and nobody writes without it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LOCKED = "locked"
"""An organisation where the token may not write."""
LARGE = (".safetensors", ".parquet")
"""Files that are sent as LFS objects."""


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    commits: list[tuple[bool, dict[str, bytes]]] = field(default_factory=list)
    """Whether it was private, and all its files, after each commit."""

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{id(self)} {self.messages}".encode()).hexdigest()


def oid(content: bytes) -> str:
    """Git's name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class LocalHub:
    def __init__(self, token: str, large: Iterable[str] = LARGE) -> None:
        self.token, self.large = token, tuple(large)
        self.repos: dict[str, Repo] = {}
        """`datasets/owner/name` or `models/owner/name` -> the repository."""
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        """Method and path of each request."""
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LocalHub:
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, name: str) -> dict[str, bytes]:
        return self.repos[name].files


class Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        self.hub.asked.append(f"{method} {self.path}")
        self.body = self._read_body()
        path = unquote(parts.path)
        for pattern, function in ROUTES:
            if found := re.fullmatch(pattern, path):
                getattr(self, function)(*found.groups())
                return
        self._send(404, {"error": f"the local hub has no {method} {path}"})

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, code: int, plain: Any, **headers: str) -> None:
        self._send_bytes(code, json.dumps(plain).encode(), {"Content-Type": "application/json", **headers})

    def _send_bytes(self, code: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    @property
    def is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _repo(self, name: str, writes: bool = False) -> Repo | None:
        """A repository that may be seen, or None after the refusal was sent."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.is_known):
            code = 404 if self.is_known else 401
            self._send(code, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
            return None
        if writes and not self.is_known:
            self._send(403, {"error": "Forbidden: you need a token with write access"})
            return None
        return repo

    def create(self) -> None:
        plain = json.loads(self.body)
        name = f"{plain.get('type') or 'model'}s/{plain['organization']}/{plain['name']}"
        if not self.is_known:
            self._send(401, {"error": "Invalid username or password."})
        elif plain["organization"] == LOCKED:
            self._send(403, {"error": "You don't have the rights to create a repository here"})
        elif name in self.hub.repos:
            self._send(409, {"error": "You already created this repo"})
        else:
            self.hub.repos[name] = Repo(plain.get("visibility") == "private")
            self._send(200, {"url": f"{self.hub.url}/{name.removeprefix('models/')}"})

    def info(self, name: str, revision: str | None) -> None:
        if not (repo := self._repo(name)):
            return
        if revision not in (None, "main", repo.sha):
            self._send(404, {"error": "Invalid rev id"}, **{"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": file} for file in repo.files]
        identity = name.partition("/")[2]
        self._send(200, {"id": identity, "_id": "0", "private": repo.private, "sha": repo.sha, "siblings": siblings,
                         "tags": [], "downloads": 0, "likes": 0, "disabled": False, "gated": False})  # fmt: skip

    def settings(self, name: str) -> None:
        if repo := self._repo(name, writes=True):
            repo.private = json.loads(self.body)["visibility"] == "private"
            self._send(200, {"private": repo.private})

    def _entries(self, repo: Repo, folder: str, deep: bool) -> list[dict[str, Any]]:
        prefix = f"{folder}/" if folder else ""
        found: dict[str, dict[str, Any]] = {}
        for path, content in repo.files.items():
            if not path.startswith(prefix):
                continue
            steps = path.removeprefix(prefix).split("/")
            for depth in range(1, len(steps) if deep else min(2, len(steps))):
                name = prefix + "/".join(steps[:depth])
                found[name] = {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
            if deep or len(steps) == 1:
                found[path] = self._entry(path, content)
        return list(found.values())

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        plain: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": oid(content)}
        if path.endswith(self.hub.large):
            plain["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return plain

    def tree(self, name: str, revision: str, folder: str | None) -> None:
        if repo := self._repo(name):
            query = parse_qs(urlsplit(self.path).query)
            found = self._entries(repo, folder or "", query.get("recursive", ["False"])[0].lower() in ("true", "1"))
            if folder and not found:
                self._send(404, {"error": "not found"}, **{"X-Error-Code": "EntryNotFound"})
            else:
                self._send(200, found)

    def paths_info(self, name: str, revision: str) -> None:
        if repo := self._repo(name):
            asked = parse_qs(self.body.decode()).get("paths", [])
            every = {each["path"]: each for each in self._entries(repo, "", deep=True)}
            self._send(200, [every[path] for path in asked if path in every])

    def preupload(self, name: str, revision: str) -> None:
        if repo := self._repo(name, writes=True):
            files = [
                {"path": each["path"], "uploadMode": "lfs" if each["path"].endswith(self.hub.large) else "regular",
                 "shouldIgnore": False, "oid": oid(repo.files[each["path"]]) if each["path"] in repo.files else None}
                for each in json.loads(self.body)["files"]
            ]  # fmt: skip
            self._send(200, {"files": files})

    def batch(self, name: str) -> None:
        if self._repo(name if name.startswith("datasets/") else f"models/{name}", writes=True):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.hub.url}/objects/{each['oid']}"}}}
                for each in json.loads(self.body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})

    def store(self, sha: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == sha
        self.hub.objects[sha] = self.body
        self._send(200, {})

    def commit(self, name: str, revision: str) -> None:
        if not (repo := self._repo(name, writes=True)):
            return
        for line in self.body.splitlines():
            each = json.loads(line)
            value = each["value"]
            if each["key"] == "header":
                repo.messages.append(f"{len(repo.messages)} {value['summary']}")
            elif each["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif each["key"] == "lfsFile":
                repo.files[value["path"]] = self.hub.objects[value["oid"]]
            elif each["key"] == "deletedFile":
                del repo.files[value["path"]]
        repo.commits.append((repo.private, dict(repo.files)))
        url = f"{self.hub.url}/{name}/commit/{repo.sha}"
        self._send(200, {"commitUrl": url, "commitOid": repo.sha, "success": True})

    def resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name if name.startswith("datasets/") else f"models/{name}")
        if repo is None:
            return
        if path not in repo.files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.sha}
            self._send(404, {"error": "Entry not found"}, **headers)
            return
        content = repo.files[path]
        headers = {"ETag": f'"{oid(content)}"', "X-Repo-Commit": repo.sha, "Accept-Ranges": "bytes"}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self._send_bytes(206, content[first : last + 1], headers)
        else:
            self._send_bytes(200, content, headers)

    def validate(self) -> None:
        self._send(200, {"errors": [], "warnings": []})


REPO = r"((?:datasets|models)/[^/]+/[^/]+)"
ROUTES = (
    (r"/api/repos/create", "create"),
    (r"/api/validate-yaml", "validate"),
    (rf"/api/{REPO}(?:/revision/([^/]+))?", "info"),
    (rf"/api/{REPO}/settings", "settings"),
    (rf"/api/{REPO}/tree/([^/]+)(?:/(.*))?", "tree"),
    (rf"/api/{REPO}/paths-info/([^/]+)", "paths_info"),
    (rf"/api/{REPO}/preupload/([^/]+)", "preupload"),
    (rf"/api/{REPO}/commit/([^/]+)", "commit"),
    (r"/((?:datasets/)?[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
    (r"/objects/(\w+)", "store"),
    (r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
)
