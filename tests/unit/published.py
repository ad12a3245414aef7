"""Small published files in the true formats, and a server that serves them well or badly."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from nets.dataset import DataSet, Member, Published, PublishedFile
from nets.formats.cifar import cifar
from nets.formats.idx import MEMBERS, mnist_like

POINTS = {"train": 300, "t10k": 20}


def checksum(content, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def idx_files():
    """Four uncompressed files of random images, too large to come in one block."""
    random = np.random.default_rng(0)
    found = {}
    for name in MEMBERS:
        points = POINTS[name.partition("-")[0]]
        shape = (points, 28, 28) if "images" in name else (points,)
        found[name] = idx(random.integers(0, 255 if len(shape) > 1 else 10, shape).astype(np.uint8))
    return found


def mnist_of(server, members=True):
    """A data set like MNIST, whose files the server has under /first and /second."""
    files = []
    for name, content in idx_files().items():
        packed = gzip.compress(content, mtime=0)
        for mirror in ("first", "second"):
            server.files[f"/{mirror}/{name}.gz"] = packed
        known = checksum(content) if members else None
        files.append(
            PublishedFile(f"{name}.gz", checksum(packed, "md5"), len(packed), (Member(name, known),))
        )
    return DataSet(
        build=mnist_like,
        sha256=None,
        classes=10,
        source="random",
        published=Published(
            "tiny", (f"{server.url}/first/", f"{server.url}/second/"), ("Tiny/raw",), tuple(files)
        ),
    )


def batch(points, seed, **labels):
    random = np.random.default_rng(seed)
    content = {b"data": random.integers(0, 255, (points, 3072)).astype(np.uint8)}
    content |= {name.encode(): values for name, values in labels.items()}
    # as the published files have it: they were pickled when NumPy had its parts elsewhere
    return pickle.dumps(content, protocol=3).replace(b"numpy._core", b"numpy.core")


def archive(files):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


def cifar_of(server, batches, packed=None, labels=b"fine_labels"):
    """A data set like CIFAR-100 of these batches; ``packed`` replaces the archive of them."""
    inside = {f"tiny-python/{name}": content for name, content in batches.items()}
    packed = packed or archive({"tiny-python/readme.html": b"<html>", **inside})
    server.files["/first/tiny.tar.gz"] = packed
    members = tuple(Member(name, checksum(content, "md5")) for name, content in batches.items())
    file = PublishedFile("tiny.tar.gz", checksum(packed), len(packed), members)
    return DataSet(
        build=cifar(("train",), "test", labels),
        sha256=None,
        classes=100,
        source="random",
        published=Published("tiny", (f"{server.url}/first/",), ("tiny-python",), (file,)),
    )


class Server:
    """Serves ``files`` by path; ``plans`` says how it misbehaves at one request after another."""

    def __init__(self, ranges=True):
        self.files, self.plans, self.asked = {}, {}, []
        self.ranges = ranges
        self.closed = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                with suppress(ConnectionError):
                    owner.answer(self)

            def log_message(self, *arguments):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self):
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, request):
        asked_range = request.headers.get("Range")
        self.asked.append((request.path, asked_range))
        plan = self.plans.get(request.path) or ["good"]
        how, *rest = plan.pop(0) if isinstance(plan[0], tuple) else (plan.pop(0),)
        content = self.files.get(request.path)
        if how == "status" or content is None:
            request.send_error(rest[0] if rest else 404)
        elif how == "redirect":
            request.send_response(302)
            request.send_header("Location", rest[0])
            request.end_headers()
        elif how == "page":
            self._send(request, 200, b"\n<!DOCTYPE html><html>Please log in</html>")
        elif how == "wrong":
            self._send(request, 200, bytes(len(content)))
        elif how == "silence":
            self.closed.wait(10)
        else:
            self._serve(request, content, asked_range, how, *rest)

    def _serve(self, request, content, asked_range, how, limit=None):
        if how == "slow":
            time.sleep(0.5)
        start = int(asked_range.removeprefix("bytes=").rstrip("-")) if asked_range else 0
        if start and self.ranges:
            extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._send(request, 206, content[start:], extra, limit)
        else:
            self._send(request, 200, content, {}, limit)
        if how == "stall":
            self.closed.wait(10)

    def _send(self, request, status, content, extra=(), limit=None):
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **dict(extra)}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content[:limit])
        request.wfile.flush()
