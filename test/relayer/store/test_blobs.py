"""The local blob store on a real folder."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relayer.store.blobs import (
    SMALL_BYTES,
    BlobCorruptError,
    BlobMissingError,
    BlobTooLargeError,
    LocalBlobStore,
)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def everything(store: LocalBlobStore, blob_hash: bytes) -> bytes:
    return b"".join([chunk async for chunk in store.read(blob_hash)])


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"",),
        (b"a", b"bc"),
        (b"x" * 4095, b"y"),
        (b"x" * 4096, b"y"),
        (b"x" * (1 << 20), b"y" * 3, b"z" * (3 << 20)),
    ],
)
async def test_what_is_put_is_read(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    store = LocalBlobStore(tmp_path)
    whole = b"".join(parts)
    stored = await store.put(chunks(*parts), 1 << 30)
    assert (stored.hash, stored.size) == (hashlib.sha256(whole).digest(), len(whole))
    if len(whole) <= SMALL_BYTES:
        assert stored.content == whole
        assert not await store.holds(stored.hash)
    else:
        assert stored.content is None
        assert await store.holds(stored.hash)
        assert await everything(store, stored.hash) == whole
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_blob_over_the_limit_leaves_nothing(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    for parts, limit in (((b"abc", b"def"), 5), ((b"x" * 5000, b"y" * 5000), 6000)):
        with pytest.raises(BlobTooLargeError):
            await store.put(chunks(*parts), limit)
    assert list((tmp_path / "incoming").iterdir()) == []
    assert not (tmp_path / "sha256").exists()


async def test_altered_and_missing_blobs_are_told(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    stored = await store.put(chunks(b"x" * (3 << 20)), 1 << 30)
    path = store.path(stored.hash)
    path.write_bytes(b"y" + path.read_bytes()[1:])
    with pytest.raises(BlobCorruptError):
        await everything(store, stored.hash)
    with pytest.raises(BlobMissingError):
        await everything(store, bytes(32))


async def test_named_bytes_are_replaced_whole_and_stay_in_their_folder(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    assert await store.get_named("manifests", "ab") is None
    await store.put_named("manifests", "ab", b"one")
    await store.put_named("manifests", "ab", b"two")
    assert await store.get_named("manifests", "ab") == b"two"
    for space, name in (("..", "x"), ("manifests", "../x"), ("sha256", "x")):
        with pytest.raises(ValueError, match="not a name"):
            await store.put_named(space, name, b"")
