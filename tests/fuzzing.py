"""The loop of the fuzzers: files are damaged again and again, and what reaches new lines of the readers is kept.

Opening must end in success or in a LineamentError of one line, run nothing, and stay cheap.
"""

import argparse
import random
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import lineament
from lineament.errors import LineamentError
from tests.own_files import OPENERS, WORKSHOP
from tests.watch import audited

SLOWEST = 2.0  # seconds for one file
MOST_MEMORY = 2**30  # bytes that the whole run may add
LARGEST = 2**16

File = tuple[str, bytes]
"""The name of what opens a file in `tests.own_files.OPENERS`, and its bytes."""


class Subject(Protocol):
    """What is fuzzed.

    Attributes:
        readers: files of the package whose lines count, relative to it, as patterns.
    """

    readers: tuple[str, ...]

    def seeds(self) -> list[File]:
        """Files to begin with; the first of each opener is honest."""
        ...

    def damaged(self, rng: random.Random, pool: list[File]) -> File:
        """One of the files, or of several, changed."""
        ...


_TOKENS = [
    *(bytes([code]) for code in b".()]}aesutRboQ012N\x81\x85\x86\x87\x8f\x90\x91\x92\x93\x94"),
    *(
        b"h\x00",
        b"h\x01",
        b"K\xff",
        b"J" + b"\xff" * 4,
        b"\x8a\x08" + b"\xff" * 8,
        b"\xff" * 4,
        b"\xff" * 8,
        bytes(4),
        bytes(8),
    ),
    *(b"cos\nsystem\n", b"ccollections\nOrderedDict\n", b"cbuiltins\nlist\n", b"cnumpy\ndtype\n"),
    *(b"ccopyreg\n__newobj__\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"),
]


@dataclass
class Report:
    """What a run met.

    Attributes:
        tried: files.
        opened: those that opened.
        refused: those that ended in one of our errors.
        lines: of the readers that were reached.
        kept: files that reached lines which none before had.
        slowest: seconds.
        failures: what went wrong, with the file's name.
    """

    tried: int = 0
    opened: int = 0
    refused: int = 0
    lines: int = 0
    kept: int = 0
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


def fuzz(subject: Subject, *, seed: int, folder: Path, minutes: float, iterations: int | None = None) -> Report:
    """Damage files until the iterations, or else the minutes, are over."""
    rng = random.Random(seed)
    report, covered = Report(), set[tuple[str, int]]()
    pool = subject.seeds()
    path = folder / "network.pkl"
    for opener, data in dict(reversed(pool)).items():
        path.write_bytes(data)
        OPENERS[opener](path)  # imports what is imported late
    traced = _followers(subject.readers)
    end = time.monotonic() + 60 * minutes
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    waiting = list(pool) if iterations is None else []
    while (report.tried < iterations) if iterations is not None else (time.monotonic() < end):
        opener, data = waiting.pop() if waiting else subject.damaged(rng, pool)
        path.write_bytes(data)
        reached, problem = _tried(opener, path, traced, report)
        if problem:
            kept = folder / f"failure-{len(report.failures)}-{opener}"
            kept.write_bytes(data)
            report.failures.append(f"{kept.name}: {problem}")
        if reached - covered:
            covered |= reached
            pool.append((opener, data))
            report.kept += 1
    report.lines = len(covered)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    if grown > MOST_MEMORY:
        report.failures.append(f"the run took {grown} bytes more memory")
    return report


def _tried(opener: str, path: Path, traced: "Followers", report: Report) -> tuple[set[tuple[str, int]], str]:
    """Open one file: the lines that it reached, and what went wrong."""
    start = time.process_time()  # other programs on the machine do not count
    problem = ""
    with _tracing(traced) as reached, audited(path, path.parent / WORKSHOP) as events:
        try:
            OPENERS[opener](path)
            report.opened += 1
        except LineamentError as error:
            report.refused += 1
            problem = "" if "\n" not in str(error) and len(str(error)) < 1000 else f"its error is long: {error}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    report.tried += 1
    report.slowest = max(report.slowest, seconds)
    if events:
        problem = f"it did {events[:3]}"
    if seconds > SLOWEST:
        problem = f"it took {seconds:.1f} s"
    return reached, problem


Followers = dict[str, str]
"""Names of the readers by their paths."""


def _followers(patterns: tuple[str, ...]) -> Followers:
    root = Path(lineament.__file__).parent
    return {str(path): str(path.relative_to(root)) for pattern in patterns for path in root.glob(pattern)}


@contextmanager
def _tracing(readers: Followers) -> Iterator[set[tuple[str, int]]]:
    """Collect the lines of the readers that run, as file and line."""
    reached: set[tuple[str, int]] = set()

    def follower(name: str) -> Callable[..., Any]:
        def follow(frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
            if event == "line":
                reached.add((name, frame.f_lineno))
            return follow

        return follow

    following = {path: follower(name) for path, name in readers.items()}

    def start(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        return following.get(frame.f_code.co_filename)

    before = sys.gettrace()
    sys.settrace(start)
    try:
        yield reached
    finally:
        sys.settrace(before)


def damaged_bytes(rng: random.Random, whole: bytes, pool: list[bytes]) -> bytes:
    """Some bytes changed, moved, repeated, left out, or taken from other files."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] = rng.randrange(256)
            case 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                data[at:at] = rng.choice(_TOKENS)
            case 3:
                token = rng.choice(_TOKENS)
                data[at : at + len(token)] = token
            case 4:
                del data[at : at + rng.choice((1, 2, 4, 8, 30))]
            case 5:
                number = rng.choice((0, 1, 255, 2**31 - 1, 2**32 - 1, rng.randrange(2**32), len(data)))
                data[at : at + 4] = struct.pack("<L", number)
            case 6:
                other = rng.choice(pool)
                start = rng.randrange(len(other) + 1)
                data[at:at] = other[start : start + rng.choice((4, 16, 64, 400))]
            case _:
                piece = bytes(data[at : at + rng.choice((2, 8, 32, 128))])
                data[at:at] = piece * rng.choice((1, 1, 2, 20))
    return bytes(data[:LARGEST])


def main(subject: Subject, description: str | None) -> None:
    """Fuzz for some minutes and print what was met."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--iterations", type=int, help="so many files instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = fuzz(subject, seed=given.seed, minutes=given.minutes, iterations=given.iterations, folder=folder)
    for failure in report.failures:
        print(failure)
    print(
        f"{report.tried} files, {report.opened} opened, {report.refused} refused, {report.kept} reached new lines, "
        f"{report.lines} lines, slowest {report.slowest:.2f} s, {len(report.failures)} failures"
    )
    sys.exit(bool(report.failures))
