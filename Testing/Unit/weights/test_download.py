"""Downloads: progress, resume, verification and every way they fail; a fake opener, and one real server on loopback."""

import dataclasses
import http.server
import threading
from collections import namedtuple
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from DDSAM2SlicerLib.core.errors import WeightsError
from DDSAM2SlicerLib.weights import download as download_module
from DDSAM2SlicerLib.weights.download import download
from DDSAM2SlicerLib.weights.store import Store, hash_file


def test_a_download_ends_verified_under_its_name(a_store, a_server, verified, content):
    path = download(verified, a_store, opener=a_server)
    assert path.read_bytes() == content
    assert a_store.state(verified) == "ready"
    assert not a_store.part_path(verified).exists()


def test_progress_counts_up_to_the_announced_size(a_store, a_server, verified, content):
    seen = []
    download(verified, a_store, progress=lambda done, total: seen.append((done, total)), opener=a_server)
    assert seen[0] == (0, len(content))
    assert seen[-1] == (len(content), len(content))
    assert len(seen) > 3
    assert seen == sorted(seen)


def test_a_model_that_is_there_is_not_fetched_again(a_store, a_server, verified):
    download(verified, a_store, opener=a_server)
    download(verified, a_store, opener=a_server)
    assert len(a_server.ranges) == 1


def test_cancelling_keeps_the_part_and_the_next_call_continues_it(a_store, a_server, verified, content):
    seen = []
    cancelled = download(
        verified, a_store, lambda done, total: seen.append(done), cancel=lambda: len(seen) == 2, opener=a_server
    )
    assert cancelled is None
    assert a_store.state(verified) == "missing"
    assert a_store.part_path(verified).read_bytes() == content[: seen[-1]]
    assert download(verified, a_store, opener=a_server).read_bytes() == content
    assert a_server.ranges == [None, f"bytes={seen[-1]}-"]


def test_a_broken_connection_is_reported_and_can_be_continued(a_store, a_server, verified, content):
    a_server.breaks_after = 300_000
    with pytest.raises(WeightsError, match=r"ended after 300000 of 1024000 bytes. Download again"):
        download(verified, a_store, opener=a_server)
    a_server.breaks_after = None
    assert download(verified, a_store, opener=a_server).read_bytes() == content


def test_a_server_without_resume_sends_everything_again(a_store, a_server, verified, content):
    a_store.folder.mkdir()
    a_store.part_path(verified).write_bytes(content[:1000])
    a_server.supports_range = False
    assert download(verified, a_store, opener=a_server).read_bytes() == content


def test_a_part_that_is_already_complete_is_only_verified(a_store, a_server, verified, content):
    a_store.folder.mkdir()
    a_store.part_path(verified).write_bytes(content)
    assert download(verified, a_store, opener=a_server).read_bytes() == content


def test_a_part_longer_than_the_file_is_removed(a_store, a_server, unverified, content):
    a_store.folder.mkdir()
    a_store.part_path(unverified).write_bytes(content + b"more")
    with pytest.raises(WeightsError, match=r"did not belong to .*and was removed"):
        download(unverified, a_store, opener=a_server)
    assert not a_store.part_path(unverified).exists()


def test_a_file_with_another_hash_is_removed_and_both_hashes_are_named(a_store, a_server, verified):
    a_server.content = b"tampered" * 1000
    with pytest.raises(WeightsError, match=rf"not the published one \(SHA-256 .*{verified.sha256}.*removed"):
        download(verified, a_store, opener=a_server)
    assert list(a_store.folder.iterdir()) == []


def test_without_a_published_hash_the_hash_on_arrival_is_recorded(a_store, a_server, unverified):
    path = download(unverified, a_store, opener=a_server)
    assert a_store.recorded_sha256(unverified) == hash_file(path)


def test_a_shipped_model_is_not_downloaded(a_store, a_server, shipped):
    with pytest.raises(WeightsError, match="part of the extension"):
        download(shipped, a_store, opener=a_server)
    assert a_server.ranges == []


def _fail_with(error):
    def opener(request):
        raise error

    return opener


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (HTTPError("https://example.org/public.pt", 404, "Not Found", None, None), "refused 'public' .HTTP 404"),
        (URLError("no route to host"), "connection for 'public' failed .*no route to host"),
        (TimeoutError("timed out"), "connection for 'public' failed .*timed out"),
        (IncompleteRead(b""), "connection for 'public' failed"),
    ],
)
def test_a_network_failure_is_one_sentence(a_store, verified, error, sentence):
    with pytest.raises(WeightsError, match=sentence):
        download(verified, a_store, opener=_fail_with(error))


def test_too_little_space_is_reported_before_anything_is_written(a_store, a_server, verified, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9 - 500_000, 500_000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"'public' needs 1 MB more in .*, where 0 MB are free"):
        download(verified, a_store, opener=a_server)
    assert list(a_store.folder.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_disk_that_fills_up_is_reported_in_one_sentence(a_store, a_server, verified):
    a_store.folder.mkdir()
    a_store.part_path(verified).symlink_to("/dev/full")
    with pytest.raises(WeightsError, match=r"Cannot download the model 'public' in .*: the disk is full"):
        download(verified, a_store, opener=a_server)


def test_an_unusable_folder_is_reported_in_one_sentence(tmp_path, a_store, a_server, verified):
    (tmp_path / "occupied").write_text("a file, not a folder")
    store = Store(tmp_path / "occupied" / "models", a_store.catalog)
    with pytest.raises(WeightsError, match=r"Cannot download the model 'public' in .*occupied.*cannot be used"):
        download(verified, store, opener=a_server)


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Serves the server's content and honours Range, as the real hosts do."""

    def do_GET(self):
        """Answer 200 with everything, 206 with the rest, or 404."""
        if self.path != "/public.pt":
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        self.wfile.write(self.server.content[start:])

    def log_message(self, *args):
        """Keep the test's output clean."""


@pytest.fixture
def a_real_server(content):
    """Address of a real HTTP server on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler)
    server.content = content
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_real_opener_downloads_and_resumes(a_store, a_real_server, verified, content):
    entry = dataclasses.replace(verified, url=f"{a_real_server}/public.pt")
    a_store.folder.mkdir()
    a_store.part_path(entry).write_bytes(content[:1000])
    seen = []
    assert download(entry, a_store, lambda done, total: seen.append(done)).read_bytes() == content
    assert seen[0] == 1000


def test_the_real_opener_reports_a_missing_page(a_store, a_real_server, verified):
    entry = dataclasses.replace(verified, url=f"{a_real_server}/gone.pt")
    with pytest.raises(WeightsError, match=r"refused 'public' .HTTP 404"):
        download(entry, a_store)
