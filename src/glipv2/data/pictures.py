"""Every picture of a data set read once, side by side in processes, each ending in facts or in one clear message."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from glipv2.data.images import read_described, read_image
from glipv2.errors import UserError

FEW = 64  # pictures that are read faster here than a pool of processes starts
CHUNK = 16
AHEAD = 4  # chunks a process that wait: the memory stays bounded however many pictures there are


@dataclass(frozen=True)
class PictureJob:
    """A picture to be read; image_size: (height, width) that `source` says it has, None where nobody says."""

    path: Path
    image_size: tuple[int, int] | None
    source: Path


@dataclass(frozen=True)
class PictureFacts:
    """digest: of the file's bytes, "" where there is none; problem: why the picture can't be used, "" where it can.

    misfit: it can be read, but is not what its file of annotations describes.
    """

    path: Path
    digest: str = ""
    problem: str = ""
    misfit: bool = False


def read_picture(job: PictureJob) -> PictureFacts:
    """Decodes one picture as training does."""
    try:
        if not stat.S_ISREG(os.stat(job.path).st_mode):  # opening a pipe would wait for ever
            return PictureFacts(job.path, problem=f"image {job.path} is no regular file; put the picture there")
        with job.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return PictureFacts(job.path, problem=f"image {job.path} can't be opened ({error.strerror}); check the path")
    try:
        if job.image_size is None:
            read_image(job.path)
        else:
            read_described(job.path, job.image_size, job.source)
    except UserError as error:
        return PictureFacts(job.path, digest, str(error), misfit="describes it as" in str(error))
    except MemoryError:
        return PictureFacts(job.path, digest, f"image {job.path} doesn't fit into memory; shrink or remove it")
    return PictureFacts(job.path, digest)


def read_pictures(jobs: Sequence[PictureJob], workers: int) -> Iterator[PictureFacts]:
    """Facts of all pictures, in order. A picture that kills the process that reads it is told like any other fault."""
    if workers <= 1 or len(jobs) <= FEW:
        yield from map(read_picture, jobs)
        return
    chunks = deque(jobs[begin : begin + CHUNK] for begin in range(0, len(jobs), CHUNK))
    while chunks:
        try:
            yield from _by_pool(chunks, workers)
        except BrokenProcessPool:
            for job in chunks.popleft():
                yield _alone(job)


def _by_pool(chunks: deque[Sequence[PictureJob]], workers: int) -> Iterator[PictureFacts]:
    """Facts chunk by chunk; a chunk leaves the queue when its facts are known."""
    pool = ProcessPoolExecutor(workers)
    waiting: deque[Future[list[PictureFacts]]] = deque()
    try:
        while chunks:
            for chunk in list(islice(chunks, len(waiting), AHEAD * workers)):
                waiting.append(pool.submit(_read_chunk, chunk))
            facts = waiting.popleft().result()
            chunks.popleft()
            yield from facts
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read_chunk(jobs: Sequence[PictureJob]) -> list[PictureFacts]:
    return [read_picture(job) for job in jobs]


def _alone(job: PictureJob) -> PictureFacts:
    """One picture in a process of its own."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(_read_chunk, [job]).result()[0]
        except BrokenProcessPool:
            return PictureFacts(job.path, problem=f"image {job.path} ended the process that read it; remove it")
