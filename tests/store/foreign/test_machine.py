"""Pickles become plain data: equal to Python's own where that is safe, inert everywhere else, and cheap."""

import pickle
import pickletools
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineament.errors import FileFormatError, VersionError
from lineament.store.foreign import machine as pickle_machine
from lineament.store.foreign.builders import PLAIN_BUILDERS, StoredArray
from lineament.store.foreign.dangerous_names import runs_code
from lineament.store.foreign.machine import load_pickle
from lineament.store.foreign.values import Global, Ledger, Opaque, hashable
from tests.foreign_checkpoints import call, dict_of, integer, name, pickled, text, tuple_of

PROTOCOLS = range(6)


def load(data: bytes, **keywords: Any) -> Any:
    ledger = Ledger.for_file("file.pkl", len(data))
    return load_pickle(memoryview(bytearray(data)), ledger, PLAIN_BUILDERS, **keywords)[0]


def test_every_instruction_is_known() -> None:
    known = {chr(code) for code in [*pickle_machine._ACTIONS, ord(".")]}
    assert known == {opcode.code for opcode in pickletools.opcodes}


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**600), 2**600)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.binary(max_size=256),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(value=plain_values, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_are_those_of_python(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers(protocol: int) -> None:
    value = {
        "ordered": OrderedDict(b=1, a=2),
        "default": defaultdict(list, x=[1]),
        "counter": Counter("aab"),
        "queue": deque([1, 2]),
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "bytes": bytearray(b"x" * 300),
    }
    found = load(pickle.dumps(value, protocol))
    assert found["ordered"] == {"b": 1, "a": 2}
    assert list(found["ordered"]) == ["b", "a"]
    assert found["default"] == {"x": [1]}
    assert found["counter"] == {"a": 2, "b": 1}
    assert found["queue"] == [1, 2]
    assert (found["set"], found["frozen"]) == ({1, 2}, {"a", "b"})
    assert bytes(found["bytes"]) == value["bytes"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_parts_stay_shared_and_cycles_are_cycles(protocol: int) -> None:
    part: list[Any] = [1]
    value = [part, part]
    value.append(value)
    found = load(pickle.dumps(value, protocol))
    assert found[0] is found[1]
    assert found[2] is found


def test_long_bytes_are_views_of_the_file() -> None:
    data = memoryview(bytearray(pickle.dumps(b"x" * 1000, 4)))
    found, end = load_pickle(data, Ledger.for_file("f", len(data)), {})
    assert type(found) is memoryview
    assert end == len(data)
    data[data.tobytes().index(b"xxx")] = ord("y")
    assert bytes(found[:3]) == b"yxx"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"])
def test_arrays(protocol: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for array in (
        rng.integers(0, 2, (2, 3, 4)).astype(dtype),
        np.asfortranarray(rng.integers(0, 2, (2, 3)).astype(dtype)),
        np.array(1, dtype),
        np.zeros((0, 3), dtype),
        np.ones(1000, dtype),
    ):
        data = pickle.dumps(array, protocol)
        found = load(data)
        assert type(found) is StoredArray
        tensor = found.tensor(Ledger.for_file("f", len(data)))
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.numpy().dtype == array.dtype
    assert load(pickle.dumps(np.dtype(dtype).type(1), protocol)) == 1


def test_arrays_of_the_first_numpy_and_of_python_2() -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    new = pickle.dumps(array, 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert new != old
    of_python_2 = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntRp4\n"
        b"(I1\n(L2L\nL3L\ntcnumpy\ndtype\np5\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S" + repr(array.tobytes())[1:].encode() + b"\ntb."
    )
    for data in (old, of_python_2):
        tensor = load(data).tensor(Ledger.for_file("f", len(data)))
        np.testing.assert_array_equal(tensor.numpy(), array)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, [("a", "f4")]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, ">f4"),
        np.zeros(2, "c8"),
    ],
)
def test_other_arrays_stay_inert_until_they_are_wanted(array: np.ndarray) -> None:
    found = load(pickle.dumps({"a": array}, 4))["a"]
    with pytest.raises(ValueError, match=r"something other than numbers|big-endian"):
        found.tensor(Ledger.for_file("f", 1))


class Foreign:
    def __init__(self, value: int) -> None:
        self.value = value


class Listed(list):
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_foreign_objects_are_carried_along(protocol: int) -> None:
    listed = Listed([1, 2])
    ledger = Ledger.for_file("f", 10**6)
    data = pickle.dumps([Foreign(3), listed], protocol)
    (one, two), _ = load_pickle(memoryview(data), ledger, PLAIN_BUILDERS)
    assert type(one) is Opaque
    assert one.name == Global(__name__, "Foreign")
    assert one.state == {"value": 3}
    assert type(two) is Opaque
    assert two.parts == [1, 2] or two.args == ([1, 2],)
    assert ledger.names >= {Global(__name__, "Foreign"), Global(__name__, "Listed")}


def test_arguments_and_items_of_foreign_calls_are_kept() -> None:
    found = load(pickled(call("a.b", "f", integer(1), text("x")) + b"(" + text("k") + integer(2) + b"u"))
    assert (found.name, found.args, found.items) == (Global("a.b", "f"), (1, "x"), {"k": 2})
    found = load(b"\x80\x04" + name("a.b", "C") + b")" + dict_of(size=integer(3)) + b"\x92.")
    assert (found.name, found.args) == (Global("a.b", "C"), ({"size": 3},))
    found = load(pickled(b"(" + name("a", "C") + integer(1) + b"o"))
    assert (found.name, found.args) == (Global("a", "C"), (1,))
    found = load(pickled(b"(" + integer(1) + b"ia\nC\n"))
    assert (found.name, found.args) == (Global("a", "C"), (1,))


def test_persistent_ids_go_to_the_callback() -> None:
    data = pickled(b"(" + text("id") + b"QPother\nl")
    assert load(data, persistent=lambda identifier: ["got", identifier]) == [["got", "id"], ["got", "other"]]
    with pytest.raises(FileFormatError, match="objects outside of itself"):
        load(data)


GADGETS = {
    "os": "system popen execv spawnl fork remove",
    "posix": "system",
    "nt": "system",
    "subprocess": "Popen call run check_output",
    "builtins": "eval exec getattr setattr delattr __import__ compile open input breakpoint print map filter globals",
    "__builtin__": "eval execfile apply reload",
    "runpy": "run_path _run_code",
    "importlib": "import_module",
    "operator": "attrgetter methodcaller",
    "types": "CodeType FunctionType",
    "functools": "reduce",
    "pickle": "loads",
    "marshal": "loads",
    "socket": "create_connection",
    "shutil": "rmtree",
    "torch.hub": "load",
    "torch": "load",
    "torch.jit": "load",
    "torch.serialization": "load os.system",
    "numpy.testing._private.utils": "runstring",
    "numpy": "load fromfile",
    "copyreg": "add_extension",
    "some.module": "__class__.__base__.__subclasses__ Config.os.popen __reduce__",
}


@pytest.mark.parametrize("module", GADGETS)
def test_names_that_run_code_are_refused_even_when_they_are_not_called(module: str) -> None:
    for attribute in GADGETS[module].split():
        assert runs_code(module, attribute)
        with pytest.raises(
            FileFormatError, match=r"file\.pkl is not opened: .* carries code that would run when"
        ) as caught:
            load(pickled(name(module, attribute)))
        assert f"{module}.{attribute}" in str(caught.value)
        data = b"\x80\x04" + text(module) + text(attribute) + b"\x93."
        with pytest.raises(FileFormatError, match="carries code"):
            load(data)


def test_harmless_names_are_not_refused() -> None:
    for module, attribute in [
        ("argparse", "Namespace"),
        ("pathlib", "PosixPath"),
        ("builtins", "ValueError"),
        ("builtins", "complex"),
        ("training.networks", "Generator"),
        ("test.models", "Net.Block"),
        ("__main__", "Config"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch.optim.adam", "Adam"),
        ("numpy.random._pickle", "__randomstate_ctor"),
        ("functools", "partial"),
        ("collections", "OrderedDict"),
        ("datetime", "datetime"),
    ]:
        assert not runs_code(module, attribute), (module, attribute)


HONEST = pickle.dumps({"a": [1, 2.5, "text", b"bytes" * 100], "b": OrderedDict(c=np.arange(9.0))}, 4)


def test_truncation_anywhere_says_so() -> None:
    for length in range(len(HONEST)):
        with pytest.raises(FileFormatError, match=r"ends in the middle.*half a download"):
            load(HONEST[:length])


def test_flipped_bytes_never_give_another_error() -> None:
    rng = np.random.default_rng(0)
    for protocol in PROTOCOLS:
        whole = pickle.dumps(pickle.loads(HONEST), protocol)
        for position in rng.integers(0, len(whole), 40):
            damaged = bytearray(whole)
            damaged[position] = rng.integers(256)
            with suppress(FileFormatError):
                load(bytes(damaged))


DAMAGED = {
    "an empty stack": pickled(b"0"),
    "a value without a list": pickled(b"Na"),
    "a list without a mark": pickled(b"]Ne"),
    "a key without a value": pickled(b"}(Nu"),
    "a mark at the end": pickled(b"(N"),
    "an unknown instruction": pickled(b"\xff"),
    "an unset memory": pickled(b"h\x07"),
    "a negative memory": pickled(b"Np-1\n"),
    "a digit that is none": pickled(b"I12x\n"),
    "a long number": pickled(b"\x8b" + (10**5).to_bytes(4, "little") + bytes(10**5)),
    "a negative length": pickled(b"\x8b\xff\xff\xff\xff"),
    "many digits": b"I" + b"7" * 5000 + b"\n.",
    "many digits of a long": b"L" + b"7" * 5000 + b"L\n.",
    "many digits of a float": b"F" + b"7" * 5000 + b"\n.",
    "no quotes": b"Sabc\n.",
    "an unknown escape": b"S'\\q'\n.",
    "half a surrogate": b"V\\ud800\n.",
    "text that is none": pickled(b"X\x02\x00\x00\x00\xff\xff"),
    "a state for a number": pickled(b"K\x01}b"),
    "a call without a tuple": pickled(name("a", "b") + b"]R"),
    "items for a list": pickled(b"]NNs"),
    "a name of numbers": b"\x80\x04K\x01K\x02\x93.",
    "an endless name": pickled(name("a" * 600, "b")),
    "a dtype of nonsense": pickled(call("numpy", "dtype", text("f4")) + tuple_of(integer(1)) + b"b"),
    "an object of no class": pickled(call("copyreg", "__newobj__", integer(1))),
    "helpers within helpers": pickled(call("copyreg", "__newobj__", *[name("copyreg", "__newobj__")] * 2000)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named_with_its_place(case: str) -> None:
    with pytest.raises(FileFormatError, match=r"file\.pkl is damaged: .* at byte \d+ makes no sense") as caught:
        load(DAMAGED[case])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


REFUSED = {
    "a call of a call": pickled(call("a", "b") + b")R"),
    "the extension registry": pickled(b"\x82\x01"),
    "the extension registry, wide": pickled(b"\x84\x01\x00\x00\x00"),
    "buffers outside": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_weights_never_need_is_refused(case: str) -> None:
    with pytest.raises(FileFormatError, match=r"is not opened: .*a source you trust"):
        load(REFUSED[case])


def test_protocols_of_the_future() -> None:
    with pytest.raises(VersionError, match=r"protocol 6.*upgrade"):
        load(b"\x80\x06N.")


def test_frames_that_lie() -> None:
    with pytest.raises(FileFormatError, match="ends in the middle"):
        load(b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.")


def test_keys_that_cannot_be_hashed_cheaply_are_hidden() -> None:
    # Hashing a tuple recurses in C and would end the process; shared halves would take 2**60 steps.
    deep: tuple[Any, ...] = ()
    for _ in range(200_000):
        deep = (deep,)
    assert type(hashable(deep)) is Opaque
    shared = b")" + b"2\x86" * 60
    for key in (shared, b"]", b"}", integer(2**61 - 1)):
        found = load(pickled(b"}" + key + b"K\x01s"))
        (hidden,) = found
        assert type(hidden) is Opaque
        assert found[hidden] == 1
        load(pickled(b"\x8f(" + key + b"\x90"))
        load(pickled(b"(" + key + b"\x91"))


def test_a_high_memory_index_costs_nothing() -> None:
    assert load(pickled(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff")) is None


def test_nesting_needs_no_call_stack() -> None:
    found = load(pickled(b"]" * 5000 + b"a" * 4999))
    for _ in range(4999):
        (found,) = found
    assert found == []


@pytest.mark.parametrize("body", [b"]", b"N\x94", b"("])
def test_instructions_are_counted(body: bytes) -> None:
    ledger = Ledger("file", operations=1000, memory=10**6)
    with pytest.raises(FileFormatError, match="far more instructions than weights need"):
        load_pickle(memoryview(pickled(body * 1001)), ledger, {})
    assert Ledger.for_file("file", 0).operations < 10**6


def test_copies_are_counted() -> None:
    remembered = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"\x940"
    encode = name("_codecs", "encode") + b"(h\x00" + text("latin1") + b"tR"
    many = b"(" + b"N" * 1000 + name("a", "C") * 2 + b"t\x940"
    for first, copy in [
        (remembered, encode),
        (many, name("builtins", "list") + b"h\x00\x85R"),
        (many.replace(b"(", b"(" + name("a", "C"), 1), name("copyreg", "__newobj__") + b"h\x00R"),
        (many, name("a", "C") + b"h\x00" + dict_of(a=b"N") + b"\x92"),
    ]:
        load(pickled(first + copy * 3))
        data, ledger = memoryview(pickled(first + copy * 200)), Ledger("f", 10**5, len(first) * 100)
        with pytest.raises(FileFormatError, match="unpacks to far more than its own size"):
            load_pickle(data, ledger, PLAIN_BUILDERS)


def test_long_texts_of_wide_characters_are_refused() -> None:
    raw = b"a" * 2**20 + "😀".encode()
    with pytest.raises(FileFormatError, match="rare characters"):
        load(pickled(b"X" + len(raw).to_bytes(4, "little") + raw))
    with pytest.raises(FileFormatError, match="rare characters"):
        load(b"V" + b"a" * 2**20 + b"\\U0001F600\n.")
    assert load(pickled(text("ä😀"))) == "ä😀"
