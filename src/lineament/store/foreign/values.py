"""The inert values that pickles become, and what the reading of one may cost."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lineament.errors import FileFormatError

Builder: TypeAlias = Callable[["Ledger", tuple[Any, ...]], Any]
"""Makes a value of a name's arguments; a ValueError, TypeError, KeyError or IndexError of it means damage."""


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
    """What a file wants built by a foreign class or function: its name, arguments and state, never built."""

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
    """What the opening of one file may still cost, and what was met on the way.

    A byte of a pickle can make an object of 200 bytes, and one instruction can copy what another made; so both
    instructions and copied bytes are counted, for the file and all pickles nested in it together.

    Attributes:
        label: the file as errors call it.
        operations: instructions that may still follow.
        memory: bytes that may still be copied or unpacked.
        settings: values that may still be listed as settings; the rest is left out.
        names: what the file mentions and no builder knows.
        sources: program text of classes, where a file gives it beside them; never run.
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
        """Account for memory about to be taken; FileFormatError when a file wants absurdly much of it."""
        self.memory -= num_bytes
        if self.memory < 0:
            raise self.refused("it unpacks to far more than its own size")

    def damaged(self, what: str) -> FileFormatError:
        """The error for bytes that make no sense."""
        return FileFormatError(f"{self.label} is damaged: {what:.300}; get or make the file again")

    def refused(self, what: str) -> FileFormatError:
        """The error for bytes that make sense and are not acceptable."""
        return FileFormatError(f"{self.label} is not opened: {what:.300}; get the weights from a source you trust")


def hashable(value: Any) -> Any:
    """A dict's key: simple values as they are, everything else hidden in a record.

    Tuples and huge numbers are hidden, too: hashing a tuple recurses and takes exponential time where parts are shared,
    and numbers can be chosen to collide.
    """
    if type(value) in (str, bytes, bool, Global, type(None)) or (type(value) is int and abs(value) < 2**60):
        return value
    return Opaque(Global("", "key"), (value,))
