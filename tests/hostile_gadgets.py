"""Pickles that make whoever loads them run code: every class of gadget, in every place of a checkpoint."""

import pickle
from collections.abc import Callable

import torch

from tests import foreign_checkpoints as made
from tests.foreign_checkpoints import call, dict_of, integer, name, pickled, storage, tensor, text, tuple_of, zipped
from tests.hostile_registry import CORPUS, PAYLOAD, SHELL, hostile, legacy, load_from_bytes, nested

# ---- gadgets: names that run code when they are called ----

GADGETS = {
    "os.system": call("os", "system", text(SHELL)),
    "posix.system": call("posix", "system", text(SHELL)),
    "nt.system": call("nt", "system", text(SHELL)),
    "os.popen": call("os", "popen", text(SHELL)),
    "os.execv": call("os", "execv", text("/bin/sh"), b"(" + text("sh") + b"l"),
    "subprocess.Popen": call("subprocess", "Popen", b"(" + text("sh") + text("-c") + text(SHELL) + b"l"),
    "subprocess.check_output": call("subprocess", "check_output", b"(" + text("sh") + text("-c") + text(SHELL) + b"l"),
    "builtins.eval": call("builtins", "eval", text(PAYLOAD)),
    "builtins.exec": call("builtins", "exec", text(PAYLOAD)),
    "builtins.exec of Python 2": call("__builtin__", "exec", text(PAYLOAD)),
    "builtins.compile": call("builtins", "compile", text(PAYLOAD), text("x"), text("exec")),
    "builtins.getattr": call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")),
    "builtins.__import__": call("builtins", "__import__", text("antigravity")),
    "builtins.open": call("builtins", "open", text("lineament-canary"), text("w")),
    "runpy._run_code": call("runpy", "_run_code", text(PAYLOAD), dict_of()),
    "timeit.timeit": call("timeit", "timeit", text(PAYLOAD)),
    "pdb.run": call("pdb", "run", text(PAYLOAD)),
    "code.InteractiveInterpreter": call("code", "InteractiveInterpreter"),
    "importlib.import_module": call("importlib", "import_module", text("antigravity")),
    "operator.attrgetter": call("operator", "attrgetter", text("system")),
    "types.FunctionType": call("types", "FunctionType", b"N", b"}"),
    "pickle.loads in a pickle": call("pickle", "loads", b"C\x02N."),
    "marshal.loads": call("marshal", "loads", b"C\x01N"),
    "torch.hub.load": call("torch.hub", "load", text("someone/else"), text("model")),
    "torch.load in a checkpoint": call("torch", "load", text("other.pt")),
    "torch.jit": call("torch.jit._serialization", "load", text("other.pt")),
    "torch dotted os.system": b"\x80\x04"
    + text("torch.serialization")
    + text("os.system")
    + b"\x93"
    + text(SHELL)
    + b"\x85R",
    "numpy runstring": call("numpy.testing._private.utils", "runstring", text(PAYLOAD), dict_of()),
    "numpy.load": call("numpy", "load", text("other.npy")),
    "dunder chain": b"\x80\x04" + text("collections") + text("OrderedDict.__base__.__subclasses__") + b"\x93)R",
    "functools.reduce": call("functools", "reduce", name("os", "system"), b"(" + text(SHELL) + b"l"),
    "cloudpickle": call("cloudpickle.cloudpickle", "_make_function", b"N"),
    "shutil.rmtree": call("shutil", "rmtree", text("lineament-canary")),
    "socket.create_connection": call("socket", "create_connection", tuple_of(text("127.0.0.1"), integer(9))),
    "ctypes.CDLL": call("ctypes", "CDLL", text("libc.so.6")),
    "an INST instruction": b"(" + text(SHELL) + b"ios\nsystem\n",
    "an OBJ instruction": b"(" + name("os", "system") + text(SHELL) + b"o",
    "a NEWOBJ instruction": name("subprocess", "Popen") + text(SHELL) + b"\x85\x81",
    "a NEWOBJ_EX instruction": name("subprocess", "Popen") + b")" + dict_of(args=text(SHELL)) + b"\x92",
    "copyreg._reconstructor": call(
        "copyreg", "_reconstructor", name("subprocess", "Popen"), name("builtins", "object"), b"N"
    ),
    "copyreg.__newobj__": call("copyreg", "__newobj__", name("subprocess", "Popen"), text(SHELL)),
    "copyreg.add_extension": call("copyreg", "add_extension", text("os"), text("system"), integer(1)),
    "a memo trick": text("os") + b"q\x01" + text("system") + b"q\x020" + b"0h\x01h\x02\x93" + text(SHELL) + b"\x85R",
    "a gadget popped off the stack": call("os", "system", text(SHELL)) + b"0N",
    "a gadget named and not called": name("os", "system"),
    "a BUILD gadget": name("builtins", "setattr") + b")R" + dict_of(x=b"N") + b"b",
    "a chain of calls": call("functools", "partial", name("os", "system"), text(SHELL)) + b")R",
    "a call of what a call returned": call("some.module", "make") + text(SHELL) + b"\x85R",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
}


def _add_gadgets() -> None:
    places: list[Callable[[bytes], bytes]] = [
        lambda body: pickled(body),
        lambda body: zipped(dict_of(g_ema=dict_of(w=tensor()), args=body)),
        lambda body: pickled(dict_of(G_ema=body)),
    ]
    for index, (label, body) in enumerate(GADGETS.items()):
        CORPUS[label] = lambda place=places[index % 3], body=body: place(body)


_add_gadgets()


@hostile("protocol 0 in plain letters")
def _() -> bytes:
    return f"cos\nsystem\n(S'{SHELL}'\ntR.".encode()


@hostile("a gadget as a dict's key")
def _() -> bytes:
    return pickled(b"}" + GADGETS["os.system"] + b"Ns")


WORKING_GADGETS = (
    "os.system",
    "posix.system",
    "subprocess.check_output",
    "builtins.eval",
    "builtins.exec",
    "runpy._run_code",
    "torch dotted os.system",
    "an INST instruction",
    "an OBJ instruction",
    "a memo trick",
    "a gadget popped off the stack",
    "a chain of calls",
)
"""Those of `GADGETS` that Python's own unpickler is made to run in the tests, to see that they work."""


# ---- pickles within pickles ----


@hostile("a gadget nested in a storage")
def _() -> bytes:
    return nested(legacy(GADGETS["os.system"]))


@hostile("a plain pickle where a storage belongs")
def _() -> bytes:
    return nested(pickled(GADGETS["builtins.exec"]))


@hostile("a pickle of something else where a storage belongs")
def _() -> bytes:
    return nested(legacy(dict_of(a=b"N")))


@hostile("storages nested in each other")
def _() -> bytes:
    inner = made.saved(torch.zeros(2).untyped_storage(), legacy=True)
    return nested(legacy(load_from_bytes(inner)))


@hostile("a zip archive where a storage belongs")
def _() -> bytes:
    return nested(zipped(dict_of(w=tensor())))


@hostile("one storage unpickled again and again")
def _() -> bytes:
    inner = legacy(b"(" + b"N" * 5000 + b"l")
    return pickled(b"(" + load_from_bytes(inner) * 200 + b"l")


@hostile("a gadget in an old file's list of storages")
def _() -> bytes:
    return legacy(b"}", keys=GADGETS["os.system"])


@hostile("a gadget in an old file's header")
def _() -> bytes:
    return pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickled(GADGETS["os.system"])


# ---- persistent ids ----


@hostile("a persistent id in a plain pickle")
def _() -> bytes:
    return pickled(text("os.system") + b"Q")


@hostile("a persistent id that names a gadget")
def _() -> bytes:
    return zipped(dict_of(w=tuple_of(text("storage"), name("os", "system"), text("0"), text("cpu"), integer(4)) + b"Q"))


@hostile("a persistent id of a module")
def _() -> bytes:
    return zipped(dict_of(w=tuple_of(text("module"), name("a", "B"), text("f"), text("exec")) + b"Q"))


@hostile("a persistent id that is no tuple")
def _() -> bytes:
    return zipped(dict_of(w=b"K\x01Q"))


@hostile("a persistent id as text")
def _() -> bytes:
    return zipped(b"Pstorage\n")


@hostile("a storage of a key with a path")
def _() -> bytes:
    return zipped(dict_of(w=tensor(numbers=storage(key="../../../etc/passwd"))))


@hostile("a storage that is missing")
def _() -> bytes:
    return zipped(dict_of(w=tensor(numbers=storage(key="7"))))
