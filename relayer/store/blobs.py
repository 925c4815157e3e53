"""The blob store: content-addressed files, streamed, checked against their hash on every read."""

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from relayer.model.errors import JobsealError

CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[0-9a-z-]{1,128}")


class BlobTooLargeError(JobsealError):
    """More bytes came than a blob may have; nothing was kept."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the blob is larger than {max_bytes} bytes; split it")
        self.max_bytes = max_bytes


class BlobMissingError(JobsealError):
    """A blob that should be in the store is not."""


class BlobCorruptError(JobsealError):
    """The bytes of a blob are not those that were stored."""


@dataclass(frozen=True)
class StoredBlob:
    """What the store holds: SHA-256 (32 bytes) and size in bytes."""

    hash: bytes
    size: int


class BlobStore(Protocol):
    """Keeps bytes under their SHA-256, and a few named ones (manifests) under a name."""

    async def put(self, chunks: AsyncIterable[bytes], max_bytes: int) -> StoredBlob:
        """Store a stream; raises `BlobTooLargeError` past `max_bytes`."""
        ...

    def read(self, blob_hash: bytes) -> AsyncIterator[bytes]:
        """Stream a blob; raises `BlobMissingError`, or `BlobCorruptError` before the last chunk is given."""
        ...

    async def put_named(self, space: str, name: str, data: bytes) -> None:
        """Store bytes under a name, replacing whole what was there."""
        ...

    async def get_named(self, space: str, name: str) -> bytes | None:
        """Give the bytes under a name, or None."""
        ...


class LocalBlobStore:
    """A folder of this machine, or one that several machines share.

    A file appears under its final name only when it is whole and on disk, so a crash leaves at most a
    stray file in `incoming/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, blob_hash: bytes) -> Path:
        """Where a blob lies."""
        name = blob_hash.hex()
        return self._folder / "sha256" / name[:2] / name[2:]

    async def put(self, chunks: AsyncIterable[bytes], max_bytes: int) -> StoredBlob:
        """Store a stream under its SHA-256."""
        digest, size = hashlib.sha256(), 0
        incoming = self._incoming / secrets.token_hex(16)
        file = await asyncio.to_thread(incoming.open, "xb")
        try:
            with file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > max_bytes:
                        raise BlobTooLargeError(max_bytes)
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_flush, file)
            await asyncio.to_thread(_place, incoming, self.path(digest.digest()))
        finally:
            incoming.unlink(missing_ok=True)
        return StoredBlob(digest.digest(), size)

    async def read(self, blob_hash: bytes) -> AsyncIterator[bytes]:
        """Stream a blob; the last chunk is given only after the hash of all was right."""
        try:
            file = await asyncio.to_thread(self.path(blob_hash).open, "rb")
        except FileNotFoundError as error:
            raise BlobMissingError(f"the blob sha256:{blob_hash.hex()} is not in the store") from error
        with file:
            digest = hashlib.sha256()
            pending = await asyncio.to_thread(file.read, CHUNK_BYTES)
            digest.update(pending)
            while following := await asyncio.to_thread(file.read, CHUNK_BYTES):
                digest.update(following)
                yield pending
                pending = following
            if digest.digest() != blob_hash:
                raise BlobCorruptError(f"the blob sha256:{blob_hash.hex()} was altered in the store")
            if pending:
                yield pending

    async def put_named(self, space: str, name: str, data: bytes) -> None:
        """Store bytes under a name, replacing whole what was there."""
        await asyncio.to_thread(self._put_named, space, name, data)

    async def get_named(self, space: str, name: str) -> bytes | None:
        """Give the bytes under a name, or None."""
        try:
            return await asyncio.to_thread(self._named(space, name).read_bytes)
        except FileNotFoundError:
            return None

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


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(incoming: Path, final: Path) -> None:
    """Give a whole file its final name, durably."""
    final.parent.mkdir(parents=True, exist_ok=True)
    incoming.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
