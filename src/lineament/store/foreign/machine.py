"""Our own interpreter of pickles, which builds plain data and never imports, calls or runs what a file names.

A pickle is a program for a stack machine. This one knows all instructions of protocols 0 to 5. Where Python's would
import a name, this one makes an inert `Global`. Where Python's would call it, this one looks it up in a table of our
builders; a name without a builder gives an inert `Opaque`, which is kept. Names that are used to run code stop the
reading at once: see `lineament.store.foreign.dangerous_names`.

Rejected: Python's unpickler with ``find_class`` overridden. It copies every bytes object, its memo grows to any index
a file names, and BUILD, REDUCE and the like still act on live Python objects.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from lineament.store.foreign.stack import PickleStack
from lineament.store.foreign.values import Builder, Global, Ledger, hashable


def load_pickle(
    data: memoryview,
    ledger: Ledger,
    builders: Mapping[Global, Builder],
    persistent: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """Interpret one pickle.

    Args:
        data: the bytes; long bytes objects in the result are views of them.
        ledger: the budget; collects the names without a builder.
        builders: by name; other names are not built. See `Builder` for their errors.
        persistent: gives the value of a persistent id; without it such ids are refused.
        start: where the pickle begins.

    Returns:
        The value (cycles and shared parts are possible) and the position after its end.

    Raises:
        FileFormatError: damaged, truncated, over the budget, or it would run code in other programs.
        VersionError: a newer protocol.
    """
    stack = PickleStack(data, ledger, builders, persistent, start)
    try:
        return _run(stack), stack.position
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise ledger.damaged(f"the instruction at byte {stack.begin} makes no sense ({error})") from error


def _run(stack: PickleStack) -> Any:
    ledger = stack.ledger
    while True:
        stack.begin = stack.position
        code = stack.take(1)[0]
        if code == _STOP:
            return stack.result()
        ledger.operations -= 1
        if ledger.operations < 0:
            raise ledger.refused("it has far more instructions than weights need")
        action = _ACTIONS.get(code)
        if action is None:
            raise ValueError(f"unknown instruction 0x{code:02x}")
        action(stack)


_STOP = ord(".")

_ACTIONS: dict[int, Callable[[PickleStack], Any]] = {
    ord(code): action
    for code, action in {
        # constants and numbers
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        "I": lambda m: m.push(m.truth_or_decimal()),
        "L": lambda m: m.push(m.decimal()),
        "K": lambda m: m.push(m.number(1)),
        "M": lambda m: m.push(m.number(2)),
        "J": lambda m: m.push(m.signed(4)),
        "\x8a": lambda m: m.push(m.signed(m.number(1))),
        "\x8b": lambda m: m.push(m.signed(m.number(4))),
        "F": lambda m: m.push(m.real_line()),
        "G": lambda m: m.push(m.real()),
        # text and bytes; the strings of Python 2 become text
        "S": lambda m: m.push(m.quoted()),
        "U": lambda m: m.push(m.text(m.number(1), "latin-1")),
        "T": lambda m: m.push(m.text(m.number(4), "latin-1")),
        "V": lambda m: m.push(m.escaped()),
        "\x8c": lambda m: m.push(m.text(m.number(1))),
        "X": lambda m: m.push(m.text(m.number(4))),
        "\x8d": lambda m: m.push(m.text(m.number(8))),
        "C": lambda m: m.push(m.raw(m.number(1))),
        "B": lambda m: m.push(m.raw(m.number(4))),
        "\x8e": lambda m: m.push(m.raw(m.number(8))),
        "\x96": lambda m: m.push(m.raw(m.number(8))),
        # containers; frozen sets are sets here
        "(": PickleStack.mark,
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.since_mark())),
        "\x85": lambda m: m.push_tuple(1),
        "\x86": lambda m: m.push_tuple(2),
        "\x87": lambda m: m.push_tuple(3),
        "]": lambda m: m.push([]),
        "l": lambda m: m.push(m.since_mark()),
        "a": lambda m: m.extend([m.stack.pop()]),
        "e": lambda m: m.extend(m.since_mark()),
        "}": lambda m: m.push({}),
        "d": lambda m: m.push_dict(m.since_mark()),
        "s": lambda m: m.set_items([*reversed((m.stack.pop(), m.stack.pop()))]),
        "u": lambda m: m.set_items(m.since_mark()),
        "\x8f": lambda m: m.push(set()),
        "\x90": lambda m: m.add(m.since_mark()),
        "\x91": lambda m: m.push({*map(hashable, m.since_mark())}),
        # stack and memo
        "0": PickleStack.drop,
        "1": PickleStack.since_mark,
        "2": lambda m: m.push(m.stack[-1]),
        "g": lambda m: m.push(m.memo[m.decimal()]),
        "h": lambda m: m.push(m.memo[m.number(1)]),
        "j": lambda m: m.push(m.memo[m.number(4)]),
        "p": lambda m: m.remember(m.decimal()),
        "q": lambda m: m.remember(m.number(1)),
        "r": lambda m: m.remember(m.number(4)),
        "\x94": lambda m: m.remember(len(m.memo)),
        # names and objects
        "c": lambda m: m.push(m.find(m.word(), m.word())),
        "\x93": lambda m: m.push(m.find(*reversed((m.stack.pop(), m.stack.pop())))),
        "R": PickleStack.call,
        "\x81": PickleStack.call,
        "\x92": PickleStack.call_with_keywords,
        "o": lambda m: m.push_object(m.since_mark()),
        "i": lambda m: m.push(m.make(m.find(m.word(), m.word()), tuple(m.since_mark()))),
        "b": PickleStack.build,
        "P": lambda m: m.resolve(m.word()),
        "Q": lambda m: m.resolve(m.stack.pop()),
        # frames and tables
        "\x80": PickleStack.check_protocol,
        "\x95": PickleStack.check_frame,
        **dict.fromkeys("\x82\x83\x84\x97\x98", PickleStack.refuse),
    }.items()
}
