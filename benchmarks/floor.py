"""The physical floor: the least a pair of processes must do to carry a file and make it durable.

Sender: watch, read, send. Receiver: write, fsync, rename into place, fsync the directory, say when. Raw TCP, plain
asyncio, no TLS, no acknowledgement, no custody at the sender, nothing ever refused. What queued up during one commit is
the next group. Whatever handoffd promises beyond this is what the ratio pays for.

    python -m benchmarks.floor receive ROOT       prints its port; ROOT/durable gets a line `name ns` per file
    python -m benchmarks.floor send ROOT PORT     prints `ready`
"""

import asyncio
import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.arrival import Arrivals

STAMPS = "durable"
READ_BYTES = 65_536
THREADS = 8
SYNCFS_FROM = 24
"""Files in a group from which one syncfs beats fsyncs from threads; `python -m benchmarks.commit` shows both."""

_FRAME = struct.Struct("!HI")  # bytes of the name, bytes of the file; both follow


class Receiver(asyncio.Protocol):
    """Commits all complete files of what has arrived as one group."""

    def __init__(self, root: Path) -> None:
        self._directory = os.open(root / "handoff", os.O_DIRECTORY)
        self._stamps = os.open(root / STAMPS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._pool = ThreadPoolExecutor(THREADS)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Write, flush and publish what is complete; keep the rest."""
        self._buffer += data
        group = {name: self._write(name, content) for name, content in self._frames()}
        if group:
            self._flush(list(group.values()))
            self._publish(list(group))

    def _frames(self) -> Iterator[tuple[str, bytes]]:
        at = 0
        while len(self._buffer) >= at + _FRAME.size:
            name_bytes, file_bytes = _FRAME.unpack_from(self._buffer, at)
            body = at + _FRAME.size + name_bytes
            if len(self._buffer) < body + file_bytes:
                break
            yield self._buffer[at + _FRAME.size : body].decode(), self._buffer[body : body + file_bytes]
            at = body + file_bytes
        self._buffer = self._buffer[at:]

    def _write(self, name: str, content: bytes) -> int:
        file = os.open(f".{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=self._directory)
        os.write(file, content)
        return file

    def _flush(self, files: list[int]) -> None:
        if len(files) >= SYNCFS_FROM:
            if self._libc.syncfs(self._directory) != 0:
                raise OSError(ctypes.get_errno(), "syncfs")
        elif len(files) > 1:
            list(self._pool.map(os.fsync, files))
        else:
            os.fsync(files[0])
        for file in files:
            os.close(file)

    def _publish(self, names: list[str]) -> None:
        for name in names:
            os.rename(f".{name}.tmp", name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        os.fsync(self._directory)
        durable_ns = time.monotonic_ns()
        os.write(self._stamps, "".join(f"{name} {durable_ns}\n" for name in names).encode())


async def receive(root: Path) -> None:
    """Serve one sender for ever."""
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(root), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def send(root: Path, port: int) -> None:
    """Send each file that is renamed into handoff/, for ever."""
    loop = asyncio.get_running_loop()
    link, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
    directory = os.open(root / "handoff", os.O_DIRECTORY)
    with Arrivals(root / "handoff") as arrivals:
        loop.add_reader(arrivals.fd, lambda: link.writelines(_frame(directory, name) for name in arrivals.read()))
        print("ready", flush=True)
        await loop.create_future()


def _frame(directory: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=directory)
    content = os.read(file, READ_BYTES)
    os.close(file)
    return _FRAME.pack(len(name), len(content)) + name.encode() + content


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        asyncio.run(receive(Path(sys.argv[2])))
    else:
        asyncio.run(send(Path(sys.argv[2]), int(sys.argv[3])))
