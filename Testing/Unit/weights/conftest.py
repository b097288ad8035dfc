"""A small catalog, a store in a temporary folder, and a downloader that answers from memory."""

import hashlib
import io
from email.message import Message
from urllib.error import HTTPError

import pytest

from DDSAM2SlicerLib.weights.catalog import CatalogEntry, build_catalog
from DDSAM2SlicerLib.weights.store import Store

CONTENT = bytes(range(256)) * 4000  # about 1 MB: several blocks
CONTENT_SHA256 = hashlib.sha256(CONTENT).hexdigest()


class FakeResponse(io.BytesIO):
    """An answer with status and length; it may announce more than it holds, as a broken connection does."""

    def __init__(self, body: bytes, status: int, announced: int | None = None) -> None:
        """Hold the body; ``announced`` is the Content-Length if it is to differ."""
        super().__init__(body)
        self.status = status
        self.headers = {"Content-Length": str(len(body) if announced is None else announced)}


class FakeServer:
    """Opens requests for one content, with Range support; remembers what it was asked."""

    def __init__(self, content: bytes = CONTENT) -> None:
        """Serve this content; tests change the public attributes to make it misbehave."""
        self.content = content
        self.supports_range = True
        self.breaks_after = None
        self.ranges = []

    def __call__(self, request):
        """Answer like ``urllib.request.urlopen``."""
        asked = request.get_header("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.supports_range else 0
        if start >= len(self.content):
            headers = Message()
            headers["Content-Range"] = f"bytes */{len(self.content)}"
            raise HTTPError(request.full_url, 416, "Range Not Satisfiable", headers, None)
        body = self.content[start:]
        status = 206 if asked and self.supports_range else 200
        return FakeResponse(body[: self.breaks_after], status, announced=len(body))


@pytest.fixture
def content():
    """The bytes of the published file."""
    return CONTENT


@pytest.fixture
def a_server():
    """A downloader that answers from memory."""
    return FakeServer()


@pytest.fixture
def verified():
    """An entry with a published hash."""
    url = "https://example.org/public.pt"
    return CatalogEntry("public", "hiera_tiny", url, len(CONTENT), CONTENT_SHA256, "Apache-2.0", 1024)


@pytest.fixture
def unverified():
    """An entry of which no hash is known."""
    return CatalogEntry("unhashed", "hiera_tiny", "https://example.org/unhashed.pt", None, None, "see its page", 512)


@pytest.fixture
def shipped():
    """An entry whose file is part of the extension."""
    return CatalogEntry("own", "hiera_nano", None, None, None, "Apache-2.0", 256, resource="own.safetensors")


@pytest.fixture
def a_store(tmp_path, verified, unverified, shipped):
    """A store with one shipped model and an empty download folder that does not exist yet."""
    resources = tmp_path / "resources"
    resources.mkdir()
    (resources / "own.safetensors").write_bytes(b"own weights")
    return Store(tmp_path / "models", build_catalog([verified, unverified, shipped]), [resources])
