"""Files by their address on the model hub: fetched once, their checksum kept beside them and verified on later use."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from glipv2.errors import UserError
from glipv2.hub import hub

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+[^/])")  # Path eats a slash
CHECKSUM = ".sha256"
BUILTIN = "builtin"  # the weights that come with the package
SHIPPED = Path(__file__).parents[1] / "builtin/weights.safetensors"


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository; revision: a branch, tag or commit, None for the main branch."""

    repo: str
    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo}{f'@{self.revision}' if self.revision else ''}/{self.path}"

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.path, revision=self.revision)


def is_address(source: str | Path) -> bool:
    """Whether this is hf://… and not a path."""
    return re.match("hf:/", str(source)) is not None


def hub_file(address: str | Path) -> HubFile:
    """The parts of hf://ORG/REPO[@REVISION]/path/to/file; UserError when it has another form."""
    match = ADDRESS.fullmatch(str(address))
    if match is None:
        raise UserError(
            f"expected hf://ORG/REPO/path/to/file or hf://ORG/REPO@REVISION/path/to/file, but got {address}"
        )
    return HubFile(match["repo"], match["path"], match["revision"])


def local_file(source: str | Path) -> Path:
    """The path behind a path, an address or "builtin"; an address is fetched unless the hub's cache has it.

    UserError when it can't be fetched, or when the cached file is not the one that was fetched.
    """
    if str(source) == BUILTIN:
        return SHIPPED
    if not is_address(source):
        return Path(source).expanduser()
    file = hub_file(source)
    path = _cached(file) or _fetched(file)
    _verify(path, file)
    return path


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cached(file: HubFile) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.path, revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def _fetched(file: HubFile) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    log.info("%s: fetching %s", file, file.url)
    try:
        with hub():
            return Path(hf_hub_download(file.repo, file.path, revision=file.revision))
    except Exception as error:  # the hub's client and its transport raise families of their own
        told = " ".join(str(error).split())[:120] or type(error).__name__
        reason = "the hub does not answer" if isinstance(error, LocalEntryNotFoundError) else told
        raise UserError(
            f"{file}: could not be fetched ({reason}); "
            f"download {file.url} where there is a network and give the file's path in place of {file}"
        ) from error


def _verify(path: Path, file: HubFile) -> None:
    """Compares with the checksum beside the file; the first use writes it, in the form `sha256sum -c` reads."""
    note = path.with_name(path.name + CHECKSUM)
    found = sha256_of(path)
    if not note.is_file():
        try:
            note.write_text(f"{found}  {path.name}\n")
        except OSError as error:  # a cache shared read-only works, unverified
            log.warning("%s: its checksum could not be kept (%s)", path, error)
        log.info("%s: sha256 %s, kept in %s", file, found, note)
    elif (expected := note.read_text().split()[:1]) != [found]:
        raise UserError(
            f"{path}: expected sha256 {' '.join(expected)}, as when it was fetched, but got {found}; "
            f"delete it and {note.name}, then fetch {file} again"
        )
