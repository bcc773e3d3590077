"""A hub in memory in place of the client's network: repositories are folders, and errors are the client's own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub import errors

from headstart.hub import fetch, push

HTTP = import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
"""The HTTP library of the client, which has changed before."""


def refusal(kind, status=404):
    """An error as the client makes it of an answer."""
    request = HTTP.Request("GET", "http://hub.invalid")
    return kind("refused", response=HTTP.Response(status, request=request))


@dataclass
class FakeHub:
    """repositories: name -> {revision: folder}; commits: what was sent, in order; `refuses` is raised by every call."""

    root: Path
    repositories: dict[str, dict[str | None, Path]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refuses: Exception | None = None
    token: str | None = "hf_token"

    def add(self, name: str, revision: str | None = None, **files: Path) -> None:
        folder = self.root / name.replace("/", "--") / (revision or "main")
        for path, source in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / path)
        folder.mkdir(parents=True, exist_ok=True)
        self.repositories.setdefault(name, {})[revision] = folder

    def folder(self, name, revision):
        self.asked.append(f"{name}@{revision}")
        if self.refuses is not None:
            raise self.refuses
        if name not in self.repositories:
            raise refusal(errors.RepositoryNotFoundError)
        if revision not in self.repositories[name]:
            raise refusal(errors.RevisionNotFoundError)
        return self.repositories[name][revision]

    def list_repo_files(self, name, *, revision=None):
        folder = self.folder(name, revision)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def hf_hub_download(self, name, file, *, revision=None):
        path = self.folder(name, revision) / file
        if not path.is_file():
            raise refusal(errors.RemoteEntryNotFoundError)
        return str(path)

    def create_repo(self, name, *, private=None, exist_ok=False):
        if self.refuses is not None:
            raise self.refuses
        assert exist_ok
        self.private.setdefault(name, bool(private))

    def model_info(self, name):
        return SimpleNamespace(private=self.private[name])

    def create_commit(self, name, operations, *, commit_message):
        content = {one.path_in_repo: one.path_or_fileobj for one in operations}
        self.commits.append(
            (name, {key: Path(c).read_bytes() if isinstance(c, str) else c for key, c in content.items()})
        )
        assert commit_message
        return SimpleNamespace(commit_url=f"http://hub.invalid/{name}/commit/1")

    def install(self, monkeypatch):
        """In place of the client; the hub answers."""
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.hf_hub_download)
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: self.token)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
        for module in (fetch, push):
            monkeypatch.setattr(module, "hub_unreachable", lambda: None)
        return self
