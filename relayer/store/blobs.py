"""The blob store: content-addressed files, streamed, checked against their hash on every read.

A blob of up to `SMALL_BYTES` is no file: the store hands its bytes back, and they lie in its row of the database.
"""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from relayer.model.errors import JobsealError

CHUNK_BYTES = 1 << 20
SMALL_BYTES = 4096
PREFIXES = 256
_PAGE = 500
_NAME = re.compile(r"[0-9a-z-]{1,128}")
_FILE = re.compile(r"[0-9a-f]{62}")


class BlobTooLargeError(JobsealError):
    """More bytes came than a blob may have; nothing was kept."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the blob is larger than {max_bytes} bytes; split it")
        self.max_bytes = max_bytes


class BlobMissingError(JobsealError):
    """A blob that should be in the store is not."""

    def __init__(self, blob_hash: bytes) -> None:
        super().__init__(f"the blob sha256:{blob_hash.hex()} is not in the store")


class BlobCorruptError(JobsealError):
    """The bytes of a blob are not those that were stored."""

    def __init__(self, blob_hash: bytes) -> None:
        super().__init__(f"the blob sha256:{blob_hash.hex()} was altered in the store")


@dataclass(frozen=True)
class StoredBlob:
    """A blob: SHA-256 (32 bytes), size in bytes, and `content` where it is small and lies in no file."""

    hash: bytes
    size: int
    content: bytes | None


class Incoming(Protocol):
    """A blob that was received whole and is not in the store yet."""

    @property
    def blob(self) -> StoredBlob:
        """What came."""
        ...

    async def place(self) -> None:
        """Put it into the store, durably; a small one lies in its row, and nothing happens."""
        ...


class BlobStore(Protocol):
    """Keeps bytes under their SHA-256, and a few named ones (manifests) under a name."""

    def receive(self, chunks: AsyncIterable[bytes], max_bytes: int) -> AbstractAsyncContextManager[Incoming]:
        """Receive a stream; what was not placed when the context ends is gone.

        Raises `BlobTooLargeError` past `max_bytes`.
        """
        ...

    async def put(self, chunks: AsyncIterable[bytes], max_bytes: int) -> StoredBlob:
        """Receive a stream and place it."""
        ...

    async def holds(self, blob_hash: bytes) -> bool:
        """Whether a file holds this blob."""
        ...

    def read(self, blob_hash: bytes) -> AsyncGenerator[bytes, None]:
        """Stream a blob; raises `BlobMissingError`, or `BlobCorruptError` before the last chunk is given."""
        ...

    async def delete(self, hashes: Sequence[bytes], written_before: datetime) -> None:
        """Delete the files of blobs, but none that was written later: whoever wrote it is about to own it."""
        ...

    def listing(self, prefix: int, written_before: datetime) -> AsyncIterator[list[bytes]]:
        """Give the hashes that begin with the byte `prefix` and whose files were written before a time, in pages."""
        ...

    async def sweep_incoming(self, written_before: datetime) -> int:
        """Delete what was left half received before a time; give how many."""
        ...

    async def put_named(self, space: str, name: str, data: bytes) -> None:
        """Store bytes under a name, replacing whole what was there."""
        ...

    async def get_named(self, space: str, name: str) -> bytes | None:
        """Give the bytes under a name, or None."""
        ...


@dataclass(frozen=True)
class _IncomingFile:
    blob: StoredBlob
    path: Path
    final: Path

    async def place(self) -> None:
        if self.blob.content is None:
            await asyncio.to_thread(_place, self.path, self.final)


class LocalBlobStore:
    """A folder of this machine, or one that several machines share.

    A file appears under its final name only when it is whole and on disk, so a crash leaves at most a
    stray file in `incoming/`, or one under its final name that no row speaks of.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, blob_hash: bytes) -> Path:
        """Where a blob that is not small lies."""
        name = blob_hash.hex()
        return self._prefix(blob_hash[0]) / name[2:]

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[Incoming]:
        """Receive a stream into memory while it is small, else into a file of `incoming/`."""
        path = self._incoming / secrets.token_hex(16)
        try:
            blob = await _receive(chunks, max_bytes, path)
            yield _IncomingFile(blob, path, self.path(blob.hash))
        finally:
            path.unlink(missing_ok=True)

    async def put(self, chunks: AsyncIterable[bytes], max_bytes: int) -> StoredBlob:
        """Receive a stream and place it."""
        async with self.receive(chunks, max_bytes) as incoming:
            await incoming.place()
            return incoming.blob

    async def holds(self, blob_hash: bytes) -> bool:
        """Whether a file holds this blob."""
        return await asyncio.to_thread(self.path(blob_hash).is_file)

    async def read(self, blob_hash: bytes) -> AsyncGenerator[bytes, None]:
        """Stream a blob; the last chunk is given only after the hash of all was right."""
        try:
            file = await asyncio.to_thread(self.path(blob_hash).open, "rb")
        except FileNotFoundError as error:
            raise BlobMissingError(blob_hash) from error
        with file:
            digest = hashlib.sha256()
            pending = await asyncio.to_thread(file.read, CHUNK_BYTES)
            digest.update(pending)
            while following := await asyncio.to_thread(file.read, CHUNK_BYTES):
                digest.update(following)
                yield pending
                pending = following
            if digest.digest() != blob_hash:
                raise BlobCorruptError(blob_hash)
            if pending:
                yield pending

    async def delete(self, hashes: Sequence[bytes], written_before: datetime) -> None:
        """Delete the files of blobs that were written before a time; one that is not there is fine."""
        await asyncio.to_thread(_delete, [self.path(one) for one in hashes], written_before)

    async def listing(self, prefix: int, written_before: datetime) -> AsyncIterator[list[bytes]]:
        """Give the hashes of one folder whose files were written before a time, in pages."""
        folder = self._prefix(prefix)
        names = (path.name for path in _old_files(folder, written_before) if _FILE.fullmatch(path.name))
        while page := await asyncio.to_thread(lambda: list(islice(names, _PAGE))):
            yield [bytes.fromhex(folder.name + name) for name in page]

    async def sweep_incoming(self, written_before: datetime) -> int:
        """Delete what was left half received before a time; give how many."""
        return await asyncio.to_thread(
            lambda: _delete(_old_files(self._incoming, written_before), written_before)
        )

    async def put_named(self, space: str, name: str, data: bytes) -> None:
        """Store bytes under a name, replacing whole what was there."""
        await asyncio.to_thread(self._put_named, space, name, data)

    async def get_named(self, space: str, name: str) -> bytes | None:
        """Give the bytes under a name, or None."""
        try:
            return await asyncio.to_thread(self._named(space, name).read_bytes)
        except FileNotFoundError:
            return None

    def _prefix(self, prefix: int) -> Path:
        return self._folder / "sha256" / f"{prefix:02x}"

    def _named(self, space: str, name: str) -> Path:
        if not _NAME.fullmatch(space) or not _NAME.fullmatch(name) or space in {"sha256", "incoming"}:
            raise ValueError(f"not a name of the blob store: {space}/{name}")
        return self._folder / space / name

    def _put_named(self, space: str, name: str, data: bytes) -> None:
        incoming = self._incoming / secrets.token_hex(16)
        with incoming.open("xb") as file:
            file.write(data)
            _flush(file)
        _place(incoming, self._named(space, name))


async def _receive(chunks: AsyncIterable[bytes], max_bytes: int, path: Path) -> StoredBlob:
    """Read a stream to its end; once it is no longer small, it is written to a file, which is on disk at the end."""
    digest, size, head, file = hashlib.sha256(), 0, b"", None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise BlobTooLargeError(max_bytes)
            digest.update(chunk)
            if size <= SMALL_BYTES:
                head += chunk
                continue
            if file is None:
                file = await asyncio.to_thread(path.open, "xb")
                await asyncio.to_thread(file.write, head)
            await asyncio.to_thread(file.write, chunk)
        if file is not None:
            await asyncio.to_thread(_flush, file)
    finally:
        if file is not None:
            file.close()
    return StoredBlob(digest.digest(), size, head if file is None else None)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(incoming: Path, final: Path) -> None:
    """Give a whole file its final name, durably."""
    _make_folder(final.parent)
    incoming.replace(final)
    _sync(final.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durably: a file is as lost as the entry of its folder."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _old_files(folder: Path, written_before: datetime) -> Iterator[Path]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if _is_older(path, written_before):
                yield path


def _delete(paths: Iterable[Path], written_before: datetime) -> int:
    """Delete files that were written before a time; the time is looked at last, as a file may be replaced meanwhile."""
    deleted = 0
    for path in paths:
        if _is_older(path, written_before):
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted


def _is_older(path: Path, written_before: datetime) -> bool:
    try:
        return path.stat().st_mtime < written_before.timestamp()
    except FileNotFoundError:
        return False
