"""A coverage-guided fuzz of everything that reads foreign checkpoints.

    python -m tests.fuzz_checkpoints --minutes 10 --seed 0

Files of every kind, and all hostile ones, are damaged again and again; what reaches new lines of the readers is kept
and damaged further. Opening must end in a checkpoint or in a LineamentError, run nothing, and stay cheap.
"""

import argparse
import json
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import lineament.store
from lineament.errors import LineamentError
from lineament.store.foreign.checkpoints import open_checkpoint
from tests import foreign_checkpoints as made
from tests import hostile
from tests.watch import audited

SLOWEST = 2.0  # seconds for one file
MOST_MEMORY = 2**30  # bytes that the whole run may add
LARGEST = 2**16

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


def seeds() -> list[bytes]:
    """Honest files of every kind, several times, and the hostile ones that are small."""
    honest = [
        *(made.nvidia_torch(protocol) for protocol in range(6)),
        *(made.nvidia_tensorflow(protocol) for protocol in range(6)),
        *(made.saved(made.rosinality(), legacy=legacy) for legacy in (False, True)),
        *(made.saved(made.generator(), legacy=legacy, protocol=4) for legacy in (False, True)),
        made.zipped(made.dict_of(w=made.tensor())),
        made.zipped(made.dict_of(w=made.tensor()), method=zipfile.ZIP_DEFLATED),
    ]
    return 5 * honest + [data for data in (maker() for maker in hostile.CORPUS.values()) if len(data) <= LARGEST]


def fuzz(*, seed: int, folder: Path, minutes: float, iterations: int | None = None) -> Report:
    """Damage files until the iterations, or else the minutes, are over."""
    rng = random.Random(seed)
    report, covered = Report(), set[tuple[str, int]]()
    pool = seeds()
    path = folder / "network.pkl"
    path.write_bytes(pool[0])
    open_checkpoint(path)
    end = time.monotonic() + 60 * minutes
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    waiting = list(pool) if iterations is None else []
    while (report.tried < iterations) if iterations is not None else (time.monotonic() < end):
        data = waiting.pop() if waiting else _damaged(rng, pool)
        path.write_bytes(data)
        reached: set[tuple[str, int]] = set()
        start = time.process_time()  # other programs on the machine do not count
        problem = ""
        with _traced(reached), audited(path) as events:
            try:
                open_checkpoint(path)
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
        if problem:
            kept = folder / f"failure-{len(report.failures)}.pkl"
            kept.write_bytes(data)
            report.failures.append(f"{kept.name}: {problem}")
        if reached - covered:
            covered |= reached
            pool.append(data)
            report.kept += 1
    report.lines = len(covered)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    if grown > MOST_MEMORY:
        report.failures.append(f"the run took {grown} bytes more memory")
    return report


@contextmanager
def _traced(reached: set[tuple[str, int]]) -> Iterator[None]:
    """Collect the lines of the readers that run, as file and line."""
    folder = Path(lineament.store.__file__).parent / "foreign"

    def follower(name: str) -> Callable[..., Any]:
        def follow(frame: FrameType, event: str, arg: Any) -> Callable[..., Any]:
            if event == "line":
                reached.add((name, frame.f_lineno))
            return follow

        return follow

    readers = {str(path): follower(path.name) for path in folder.glob("*.py")}

    def start(frame: FrameType, event: str, arg: Any) -> Callable[..., Any] | None:
        return readers.get(frame.f_code.co_filename)

    before = sys.gettrace()
    sys.settrace(start)
    try:
        yield
    finally:
        sys.settrace(before)


def _damaged(rng: random.Random, pool: list[bytes]) -> bytes:
    data = bytearray(rng.choice(pool[-50:] if rng.random() < 0.3 else pool))
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


def main() -> None:
    """Fuzz for some minutes and print what was met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--iterations", type=int, help="so many files instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    parser.add_argument("--suite", action="store_true", help="as in the tests: the hostile files first, all in JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        examined = hostile.examine(folder) if given.suite else {}
        report = fuzz(seed=given.seed, minutes=given.minutes, iterations=given.iterations, folder=folder)
    if given.suite:
        print(json.dumps({"hostile": examined, "fuzz": asdict(report)}))
        return
    for failure in report.failures:
        print(failure)
    print(
        f"{report.tried} files, {report.opened} opened, {report.refused} refused, {report.kept} reached new lines, "
        f"{report.lines} lines, slowest {report.slowest:.2f} s, {len(report.failures)} failures"
    )
    sys.exit(bool(report.failures))


if __name__ == "__main__":
    main()
