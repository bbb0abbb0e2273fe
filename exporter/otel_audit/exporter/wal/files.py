"""The file system as the log uses it: a seam, so that tests can fail the N-th call.

Only OSError leaves these calls, with its errno.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

from .errors import WalFailed

READ: Final = os.O_RDONLY | os.O_CLOEXEC
WRITE: Final = os.O_RDWR | os.O_CLOEXEC
CREATE: Final = WRITE | os.O_CREAT | os.O_TRUNC

# A file being made; one that is found at start is from a crash and is deleted.
NEW_SUFFIX: Final = ".new"

_NOT_SUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class FileSystem(Protocol):
    """What the log asks of a file system. Folders are locked and synced by descriptor."""

    def make_folder(self, path: Path) -> None:
        """Create one folder, readable by the owner only; nothing happens when it exists."""

    def listdir(self, path: Path) -> list[str]: ...

    def open(self, path: Path, flags: int) -> int: ...

    def close(self, descriptor: int) -> None: ...

    def lock(self, descriptor: int) -> None:
        """Take the exclusive lock or raise BlockingIOError; it ends with the descriptor."""

    def size(self, descriptor: int) -> int: ...

    def pread(self, descriptor: int, size: int, offset: int) -> bytes: ...

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int: ...

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        """Reserve space as zeros; does nothing where the file system cannot."""

    def truncate(self, descriptor: int, size: int) -> None: ...

    def sync(self, descriptor: int) -> None:
        """Return only when the file's bytes and size are on the disk itself."""

    def sync_folder(self, descriptor: int) -> None:
        """Return only when names made and removed in the folder are on the disk itself."""

    def rename(self, source: Path, target: Path) -> None: ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; FileExistsError when that one is taken."""

    def unlink(self, path: Path) -> None: ...

    def free_bytes(self, path: Path) -> int:
        """How much may still be written on the disk of `path`."""


class OsFiles:
    """The real file system."""

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)

    def listdir(self, path: Path) -> list[str]:
        return [entry.name for entry in path.iterdir()]

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags, 0o600)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def lock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)

    def allocate(self, descriptor: int, offset: int, size: int) -> None:
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(descriptor, offset, size)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        if hasattr(fcntl, "F_FULLFSYNC"):
            # On macOS fsync stops at the drive's cache.
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def sync_folder(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        target.hardlink_to(source)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def free_bytes(self, path: Path) -> int:
        disk = os.statvfs(path)
        return disk.f_bavail * disk.f_frsize


OS: Final[FileSystem] = OsFiles()


def write_all(fs: FileSystem, descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write every byte of `data` at `offset`; a short write is continued, one of nothing is EIO."""
    view = memoryview(data)
    while view:
        written = fs.pwrite(descriptor, view, offset)
        if written <= 0:
            raise OSError(errno.EIO, "a write wrote nothing")
        view = view[written:]
        offset += written


def read_all(fs: FileSystem, descriptor: int, size: int, offset: int = 0) -> bytes:
    """Read up to `size` bytes from `offset`, fewer only at the end of the file."""
    parts: list[bytes] = []
    while size > 0:
        part = fs.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def sync_or_fail(fs: FileSystem, descriptor: int) -> None:
    """Make a file's bytes durable. Raises WalFailed: an fsync that failed is never tried again."""
    try:
        fs.sync(descriptor)
    except OSError as error:
        raise _fsync_failed(error) from error


def sync_folder_or_fail(fs: FileSystem, descriptor: int) -> None:
    """Make a folder's names durable. Raises WalFailed."""
    try:
        fs.sync_folder(descriptor)
    except OSError as error:
        raise _fsync_failed(error) from error


def put_file(fs: FileSystem, path: Path, data: bytes, reserve_bytes: int = 0) -> int:
    """Make a file under its final name with synced content, whole or not at all; return it open.

    reserve_bytes: size to allocate at least. The caller syncs the folder. An older file of that name is
    replaced. Raises OSError with nothing left behind but perhaps a `.new` file, WalFailed.
    """
    temporary = path.with_name(path.name + NEW_SUFFIX)
    descriptor = fs.open(temporary, CREATE)
    try:
        if reserve_bytes > len(data):
            fs.allocate(descriptor, 0, reserve_bytes)
        write_all(fs, descriptor, data, 0)
        sync_or_fail(fs, descriptor)
        fs.rename(temporary, path)
    except (OSError, WalFailed):
        fs.close(descriptor)
        with contextlib.suppress(OSError):
            fs.unlink(temporary)
        raise
    return descriptor


def _fsync_failed(error: OSError) -> WalFailed:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return WalFailed(
        f"the write-ahead log could not be synced to disk: {reason}",
        hint="check the disk of the data directory, then restart: acknowledged events are replayed",
    )
