"""The stack, marks and memo of a pickle, and what instructions do to them."""

from collections.abc import Callable, Mapping
from typing import Any

from lineament.errors import VersionError
from lineament.store.foreign.dangerous_names import runs_code
from lineament.store.foreign.reader import PickleReader
from lineament.store.foreign.values import Builder, Global, Ledger, Opaque, hashable

_LONGEST_NAME = 512


class PickleStack(PickleReader):
    """Stack, marks and memo of one pickle; no recursion, so nesting costs no call stack."""

    def __init__(
        self,
        data: memoryview,
        ledger: Ledger,
        builders: Mapping[Global, Builder],
        persistent: Callable[[Any], Any] | None,
        start: int,
    ) -> None:
        super().__init__(data, ledger, start)
        self.builders, self.persistent = builders, persistent
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}  # a list would grow to any index in the file
        self.globals: dict[tuple[str, str], Global] = {}

    def result(self) -> Any:
        """The value at the end of the pickle."""
        if self.below_marks:
            raise ValueError("it stops within a list")
        return self.stack.pop()

    # ---- plain values ----

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Begin a list of values."""
        self.below_marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Take the values since the last mark."""
        values, self.stack = self.stack, self.below_marks.pop()
        return values

    def push_tuple(self, count: int) -> None:
        """Make the last values one tuple."""
        if len(self.stack) < count:
            raise IndexError("too few values")
        values = tuple(self.stack[-count:])
        self.stack[-count:] = [values]

    def remember(self, index: int) -> None:
        """Put the last value in the memo, too."""
        if not 0 <= index < 2**32:
            raise ValueError("a memory beyond what pickles have")
        self.memo[index] = self.stack[-1]

    def drop(self) -> None:
        """Forget the last value, or the last mark."""
        # In all of Python's unpicklers a lone mark can be dropped like a value.
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values into the dict on the stack."""
        target = self.stack[-1]
        if len(values) % 2:
            raise ValueError("a key without a value")
        if isinstance(target, Opaque):
            target.items = {} if target.items is None else target.items
            target = target.items
        if type(target) is not dict:
            raise TypeError("items for a value that is not a dict")
        for i in range(0, len(values), 2):
            target[hashable(values[i])] = values[i + 1]

    def push_dict(self, values: list[Any]) -> None:
        """Make keys and values a dict."""
        self.push({})
        self.set_items(values)

    def extend(self, values: list[Any]) -> None:
        """Put values at the end of the list on the stack."""
        target = self.stack[-1]
        if isinstance(target, Opaque):
            target.parts = [] if target.parts is None else target.parts
            target = target.parts
        if type(target) is not list:
            raise TypeError("elements for a value that is not a list")
        target.extend(values)

    def add(self, values: list[Any]) -> None:
        """Put values into the set on the stack."""
        if type(self.stack[-1]) is not set:
            return self.extend(values)
        return self.stack[-1].update(map(hashable, values))

    # ---- names, calls and states ----

    def find(self, module: Any, name: Any) -> Global:
        """The inert value of a name; FileFormatError if the name is used to run code."""
        if type(module) is not str or type(name) is not str or max(len(module), len(name)) > _LONGEST_NAME:
            raise TypeError("a name that is not text, or too long")
        known = self.globals.get((module, name))
        if known is None:
            if runs_code(module, name):
                raise self.ledger.refused(
                    f"it names {f'{module}.{name}'!r:.120}: it carries code that would run when other programs open it"
                )
            known = self.globals[module, name] = Global(module, name)
            if known not in self.builders:
                self.ledger.names.add(known)
        return known

    def make(self, callee: Any, args: Any) -> Any:
        """What REDUCE, NEWOBJ, OBJ and INST leave on the stack."""
        if type(callee) is not Global:
            raise self.ledger.refused("it calls what another call returned, which weights never need")
        if type(args) is not tuple:
            raise TypeError("arguments that are not a tuple")
        if callee.module in ("copyreg", "copy_reg"):
            callee, args = self.unwrap(callee.name, args)
        builder = self.builders.get(callee)
        return Opaque(callee, args) if builder is None else builder(self.ledger, args)

    def unwrap(self, helper: str, args: tuple[Any, ...]) -> tuple[Global, tuple[Any, ...]]:
        """Class and arguments of an object that a helper of Python's module copyreg makes."""
        self.ledger.charge(8 * len(args))
        if helper == "__newobj__":
            cls, values = args[0], args[1:]
        elif helper == "__newobj_ex__":
            cls, values, _ = args
        else:
            cls, base, state = args
            values = () if type(base) is Global and base.name == "object" else (state,)
        if type(cls) is not Global or cls.module in ("copyreg", "copy_reg") or type(values) is not tuple:
            raise TypeError("an object without a class")
        return cls, values

    def push_object(self, values: list[Any]) -> None:
        """Make an object of a class and its arguments."""
        self.push(self.make(values[0], tuple(values[1:])))

    def call(self) -> None:
        """Replace a name and its arguments by the value made from them."""
        args = self.stack.pop()
        self.stack[-1] = self.make(self.stack[-1], args)

    def call_with_keywords(self) -> None:
        """As `call`; with keyword arguments the value is an `Opaque` that keeps them."""
        keywords = self.stack.pop()
        if keywords:
            args = self.stack.pop()
            if type(self.stack[-1]) is not Global or type(args) is not tuple:
                raise TypeError("a call of something that is no name")
            self.ledger.charge(8 * len(args))
            self.stack[-1] = Opaque(self.stack[-1], (*args, keywords))
        else:
            self.call()

    def build(self) -> None:
        """Give a state to the value on the stack."""
        state = self.stack.pop()
        target = self.stack[-1]
        if hasattr(type(target), "set_state"):
            target.set_state(state)
        elif type(target) is not dict:  # an OrderedDict's attributes, such as a state dict's versions, are not needed
            raise TypeError("a state for a plain value")

    def resolve(self, identifier: Any) -> None:
        """Put the value of a persistent id on the stack."""
        if self.persistent is None:
            raise self.ledger.refused("it refers to objects outside of itself")
        self.push(self.persistent(identifier))

    def check_protocol(self) -> None:
        """Refuse newer protocols."""
        protocol = self.number(1)
        if protocol > 5:
            raise VersionError(
                f"{self.ledger.label} is a pickle of protocol {protocol}; this release of Lineament reads up to 5: "
                "upgrade Lineament, or save the file again with an older protocol"
            )

    def check_frame(self) -> None:
        """Check that a frame lies within the file; frames have no other meaning here."""
        length, after = self.number(8), self.position
        self.take(length)
        self.position = after

    def refuse(self) -> None:
        """Refuse references to the extension registry and to buffers outside of the file."""
        raise self.ledger.refused("it refers to tables or buffers that only the program that wrote it has")
