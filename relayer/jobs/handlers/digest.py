"""The built-in kind `digest`: SHA-256, Keccak-256, size and a guess at the media type of a text or a blob."""

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterator

import puremagic
from eth_hash.backends.pysha3 import preimage
from pydantic import model_validator

from relayer.jobs.handlers.base import Context, HandlerInput, Mode, Output

_HEAD_BYTES = 8192


class DigestInput(HandlerInput):
    """Exactly one of `text` (hashed as UTF-8) and `blob` (a reference)."""

    text: str | None = None
    blob: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "DigestInput":
        if len(self.model_fields_set) != 1 or (self.text is None and self.blob is None):
            raise ValueError("give exactly one of 'text' and 'blob'")
        return self


class DigestHandler:
    """Streams its input once; memory stays the same for any size."""

    kind = "digest"
    mode = Mode.INLINE
    input_model = DigestInput

    async def run(self, job_input: DigestInput, context: Context) -> Output:
        """Give `{sha256, keccak256, size, media_type}`; digests as 64 hex digits, the size in bytes."""
        sha256, keccak256, guess, size = hashlib.sha256(), preimage(b""), _MediaType(), 0
        async for chunk in _chunks(job_input, context):
            sha256.update(chunk)
            keccak256.update(chunk)
            guess.update(chunk)
            size += len(chunk)
            # Hashing a chunk takes milliseconds; the jobs beside this one get their turn between chunks.
            await asyncio.sleep(0)
        return Output.json(
            {
                "sha256": sha256.hexdigest(),
                "keccak256": keccak256.digest().hex(),
                "size": size,
                "media_type": guess.result(),
            }
        )


async def _chunks(job_input: DigestInput, context: Context) -> AsyncIterator[bytes]:
    if job_input.text is not None:
        yield job_input.text.encode()
    elif job_input.blob is not None:
        async for chunk in context.read_blob(job_input.blob):
            yield chunk


class _MediaType:
    """Guesses from the first bytes; what no signature names is plain text where all of it is UTF-8."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True

    def update(self, chunk: bytes) -> None:
        self._head += chunk[: _HEAD_BYTES - len(self._head)]
        if self._is_text:
            try:
                self._is_text = "\0" not in self._decoder.decode(chunk)
            except UnicodeDecodeError:
                self._is_text = False

    def result(self) -> str:
        return self._by_signature() or ("text/plain" if self._ends_as_text() else "application/octet-stream")

    def _by_signature(self) -> str:
        try:
            return str(puremagic.from_string(self._head, mime=True)) if self._head else ""
        except puremagic.PureError:
            return ""

    def _ends_as_text(self) -> bool:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return self._is_text
