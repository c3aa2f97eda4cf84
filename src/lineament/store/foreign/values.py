"""The inert values that pickles are read as, and the budget for reading a file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lineament.errors import FileFormatError

Builder: TypeAlias = Callable[["Ledger", tuple[Any, ...]], Any]
"""Makes a value from the arguments of a call; ValueError, TypeError, KeyError or IndexError mean a damaged file."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a file mentions; nothing was imported."""

    module: str
    name: str

    @property
    def dotted(self) -> str:
        """Module and name as one."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Opaque:
    """An object of a foreign class or function: its name, arguments and state are kept, it is never built."""

    name: Global
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] | None = None
    parts: list[Any] | None = None

    def set_state(self, state: Any) -> None:
        """Remember the state that BUILD hands over."""
        self.state = state


@dataclass(eq=False)
class Ledger:
    """The remaining budget for reading one file, and the names found in it.

    A byte of a pickle can make an object of 200 bytes, and one instruction can copy what another made. So both
    instructions and copied bytes are limited, for the file and all pickles nested in it together.

    Attributes:
        label: the file's name in errors.
        operations: number of instructions left.
        memory: number of bytes that may still be copied or unpacked.
        settings: number of values that may still be listed as settings; the rest is left out.
        names: names in the file that have no builder.
        sources: source text of classes, if the file has it; never run.
    """

    label: str
    operations: int
    memory: int
    settings: int = 50_000
    names: set[Global] = field(default_factory=set)
    sources: dict[Global, str] = field(default_factory=dict)

    @classmethod
    def for_file(cls, label: str, num_bytes: int) -> "Ledger":
        """Budgets for a file of this size; a StyleGAN2 of 360 MB takes 40,000 instructions."""
        return cls(label, 200_000 + num_bytes // 256, 2 * num_bytes + 2**25, 50_000 + num_bytes // 256)

    def charge(self, num_bytes: int) -> None:
        """Take memory from the budget before it is used; FileFormatError if the budget is spent."""
        self.memory -= num_bytes
        if self.memory < 0:
            raise self.refused("it unpacks to far more than its own size")

    def damaged(self, what: str) -> FileFormatError:
        """The error for bytes that make no sense."""
        return FileFormatError(f"{self.label} is damaged: {what:.300}; get or make the file again")

    def refused(self, what: str) -> FileFormatError:
        """The error for bytes that are readable but not acceptable."""
        return FileFormatError(f"{self.label} is not opened: {what:.300}; get the weights from a source you trust")


def hashable(value: Any) -> Any:
    """A value that can be a dict's key: simple values unchanged, everything else wrapped in an `Opaque`.

    Tuples and huge numbers are wrapped, too: hashing a tuple recurses and takes exponential time if parts are shared,
    and numbers can be chosen so that their hashes collide.
    """
    if type(value) in (str, bytes, bool, Global, type(None)) or (type(value) is int and abs(value) < 2**60):
        return value
    return Opaque(Global("", "key"), (value,))
