"""Claims about files on the model hub: fetched once, verified ever after, and clear about what failed."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from glipv2.errors import UserError
from glipv2.models.fetch import HubFile, hub_file, local_file, sha256_of
from glipv2.models.weights import read_tensors

ADDRESS = "hf://GLIPModel/GLIP/files/glip_tiny.pth"


class Hub:
    """A hub with one file, and a cache in a folder."""

    def __init__(self, folder: Path) -> None:
        self.cached = folder / "snapshots" / "glip_tiny.pth"
        self.asked: list[tuple[str, str, str | None]] = []
        self.failure: Exception | None = None

    def download(self, repo: str, path: str, revision: str | None = None) -> str:
        self.asked.append((repo, path, revision))
        if self.failure:
            raise self.failure
        self.cached.parent.mkdir(exist_ok=True)
        torch.save({"model": {"weight": torch.arange(3.0)}}, self.cached)
        return str(self.cached)

    def look(self, repo: str, path: str, revision: str | None = None) -> Any:
        return str(self.cached) if self.cached.is_file() else None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", found.download)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", found.look)
    return found


def test_an_address_is_read_like_a_path(hub: Hub) -> None:
    assert read_tensors(ADDRESS)["weight"].tolist() == [0, 1, 2]
    assert hub.asked == [("GLIPModel/GLIP", "files/glip_tiny.pth", None)]


def test_a_path_stays_a_path(hub: Hub, tmp_path: Path) -> None:
    assert local_file(tmp_path / "x.pth") == tmp_path / "x.pth"
    assert local_file("~/x.pth") == Path.home() / "x.pth"
    assert hub.asked == []


def test_what_is_in_the_cache_is_not_fetched_again(hub: Hub) -> None:
    local_file(ADDRESS)
    hub.failure = ConnectionError("no network")
    assert local_file(ADDRESS) == hub.cached
    assert len(hub.asked) == 1


def test_the_checksum_is_kept_beside_the_file_as_sha256sum_reads_it(hub: Hub) -> None:
    local_file(ADDRESS)
    note = hub.cached.with_name("glip_tiny.pth.sha256")
    digest = hashlib.sha256(hub.cached.read_bytes()).hexdigest()
    assert note.read_text() == f"{digest}  glip_tiny.pth\n"
    assert sha256_of(hub.cached) == digest
    subprocess.run(["sha256sum", "-c", note.name], cwd=note.parent, check=True, capture_output=True)


@pytest.mark.parametrize("spoil", ["file", "note"])
def test_a_file_that_changed_since_is_refused(hub: Hub, spoil: str) -> None:
    local_file(ADDRESS)
    note = hub.cached.with_name("glip_tiny.pth.sha256")
    (hub.cached if spoil == "file" else note).write_bytes(b"something else")
    with pytest.raises(
        UserError, match=r"expected sha256 .* but got .*; delete it and glip_tiny\.pth\.sha256"
    ) as caught:
        local_file(ADDRESS)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "failure",
    [
        LocalEntryNotFoundError("Cannot find the requested files\nin the disk cache"),
        EntryNotFoundError("404 Client Error"),
        ConnectionError("no route to host"),
        ValueError("a repository's name must be alphanumeric"),
        RuntimeError(""),
    ],
)
def test_what_can_not_be_fetched_says_what_to_fetch_by_hand_and_where_to_give_it(hub: Hub, failure: Exception) -> None:
    hub.failure = failure
    with pytest.raises(UserError) as caught:
        read_tensors(ADDRESS)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{ADDRESS}: could not be fetched (")
    assert "download https://huggingface.co/GLIPModel/GLIP/resolve/main/files/glip_tiny.pth" in message
    assert f"give the file's path in place of {ADDRESS}" in message


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("hf://a/b/c.pth", HubFile("a/b", "c.pth")),
        ("hf://a/b@v1.0/c/d.pth", HubFile("a/b", "c/d.pth", "v1.0")),
        (Path("hf://a/b/c.pth"), HubFile("a/b", "c.pth")),  # a path has one slash less
    ],
)
def test_an_address_has_a_repository_a_file_and_perhaps_a_revision(address: str | Path, file: HubFile) -> None:
    assert hub_file(address) == file
    assert hub_file(str(file)) == file


@pytest.mark.parametrize("address", ["hf://a", "hf://a/b", "hf://a/b/", "hf:///b/c"])
def test_an_address_of_another_form_is_refused(hub: Hub, address: str) -> None:
    with pytest.raises(UserError, match="expected hf://ORG/REPO/path/to/file"):
        local_file(address)
    assert hub.asked == []


def test_the_revision_is_asked_for(hub: Hub) -> None:
    local_file("hf://a/b@v1/c.pth")
    assert hub.asked == [("a/b", "c.pth", "v1")]
