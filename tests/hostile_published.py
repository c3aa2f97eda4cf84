"""Names with which published attacks got past scanners of pickles, by who reported them."""

from collections.abc import Callable

from tests import foreign_checkpoints as made
from tests.foreign_checkpoints import call, dict_of, integer, name, pickled, tensor, text, tuple_of, zipped
from tests.hostile_registry import CORPUS, PAYLOAD, SHELL, legacy, nested

_EVAL, _SHELL = text(PAYLOAD), text(SHELL)
_SH = b"(" + text("sh") + text("-c") + _SHELL + b"l"
_INNER = b"C" + bytes([len(pickled(call("os", "system", _SHELL)))]) + pickled(call("os", "system", _SHELL))
_IMPORTED = call("builtins", "__import__", text("os"))


def dotted(module: str, attribute: str, *args: bytes) -> bytes:
    """A call of a name that reaches into a module by dots, which only newer protocols allow."""
    return text(module) + text(attribute) + b"\x93" + tuple_of(*args) + b"R"


PUBLISHED = {
    # picklescan: CVE-2025-1716 and the advisories that followed
    "pip.main": call("pip", "main", b"(" + text("install") + text("evil") + b"l"),
    "ensurepip._run_pip": call("ensurepip", "_run_pip", b"(" + text("install") + b"l"),
    "venv.create": call("venv", "create", text("lineament-canary")),
    "timeit.repeat": call("timeit", "repeat", _EVAL),
    "cProfile.run": call("cProfile", "run", _EVAL),
    "cProfile.runctx": call("cProfile", "runctx", _EVAL, b"}", b"}"),
    "profile.run": call("profile", "run", _EVAL),
    "profile.Profile.run": dotted("profile", "Profile.run", b"N", _EVAL),
    "profile.Profile.runctx": dotted("profile", "Profile.runctx", b"N", _EVAL, b"}", b"}"),
    "trace.Trace.run": dotted("trace", "Trace.run", b"N", _EVAL),
    "trace.Trace.runctx": dotted("trace", "Trace.runctx", b"N", _EVAL),
    "pdb.runeval": call("pdb", "runeval", _EVAL),
    "bdb.Bdb.run": dotted("bdb", "Bdb.run", b"N", _EVAL),
    "doctest.debug_script": call("doctest", "debug_script", _EVAL),
    "code.InteractiveInterpreter.runcode": dotted("code", "InteractiveInterpreter.runcode", b"N", _EVAL),
    "idlelib.pyshell.ModifiedInterpreter.runcode": dotted("idlelib.pyshell", "ModifiedInterpreter.runcode", b"N"),
    "idlelib.pyshell.ModifiedInterpreter.runcommand": dotted("idlelib.pyshell", "ModifiedInterpreter.runcommand", b"N"),
    "idlelib.run.Executive.runcode": dotted("idlelib.run", "Executive.runcode", b"N", _EVAL),
    "idlelib.autocomplete.AutoComplete.get_entity": dotted("idlelib.autocomplete", "AutoComplete.get_entity", _EVAL),
    "idlelib.autocomplete.fetch_completions": dotted("idlelib.autocomplete", "AutoComplete.fetch_completions", _EVAL),
    "idlelib.calltip.Calltip.fetch_tip": dotted("idlelib.calltip", "Calltip.fetch_tip", _EVAL),
    "idlelib.calltip.get_entity": call("idlelib.calltip", "get_entity", _EVAL),
    "idlelib.debugobj.ObjectTreeItem.SetText": dotted("idlelib.debugobj", "ObjectTreeItem.SetText", b"N", _EVAL),
    "lib2to3.pgen2.grammar.Grammar.loads": dotted("lib2to3.pgen2.grammar", "Grammar.loads", b"N", _INNER),
    "lib2to3.pgen2.pgen.ParserGenerator.make_label": dotted("lib2to3.pgen2.pgen", "ParserGenerator.make_label", _EVAL),
    "torch._dynamo.guards.GuardBuilder.get": dotted("torch._dynamo.guards", "GuardBuilder.get", b"N", _EVAL),
    "torch._inductor.codecache.compile_file": call("torch._inductor.codecache", "compile_file", text(""), b"N", _SH),
    "torch.fx ShapeEnv.evaluate_guards_expression": dotted(
        "torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression", b"N", _EVAL, b")"
    ),
    "torch.fx.graph_module.reduce_graph_module": call("torch.fx.graph_module", "reduce_graph_module", b"}", _EVAL),
    "torch.jit.unsupported_tensor_ops.execWrapper": call(
        "torch.jit.unsupported_tensor_ops", "execWrapper", _EVAL, b"}", b"}"
    ),
    "torch.utils._config_module.ConfigModule.load_config": dotted(
        "torch.utils._config_module", "ConfigModule.load_config", b"N", _INNER
    ),
    "torch.utils.bottleneck run_cprofile": call("torch.utils.bottleneck.__main__", "run_cprofile", _EVAL, b"}"),
    "torch.utils.bottleneck run_autograd_prof": call(
        "torch.utils.bottleneck.__main__", "run_autograd_prof", _EVAL, b"}"
    ),
    "torch.utils.collect_env.run": call("torch.utils.collect_env", "run", _SHELL),
    "torch.utils.collect_env.run_and_read_all": call(
        "torch.utils.collect_env", "run_and_read_all", name("torch.utils.collect_env", "run"), _SHELL
    ),
    "torch.utils.data basichandlers": call(
        "torch.utils.data.datapipes.utils.decoder", "basichandlers", text("pickle"), _INNER
    ),
    "torch.distributed.rpc internal": call("torch.distributed.rpc.internal", "_run_function", _INNER),
    "numpy.f2py.crackfortran.getlincoef": call("numpy.f2py.crackfortran", "getlincoef", _EVAL, b"}"),
    "numpy.f2py.crackfortran._eval_length": call("numpy.f2py.crackfortran", "_eval_length", _EVAL, b"}"),
    "numpy.f2py.crackfortran.myeval": call("numpy.f2py.crackfortran", "myeval", _EVAL),
    "asyncio _UnixSubprocessTransport._start": dotted(
        "asyncio.unix_events", "_UnixSubprocessTransport._start", b"}", _SHELL, b"\x88", b"N", b"N", b"N", b"K\x00"
    ),
    "pydoc.pipepager": call("pydoc", "pipepager", text("x"), _SHELL),
    "pydoc.locate and methodcaller": call("operator", "methodcaller", text("system"), _SHELL)
    + tuple_of(call("pydoc", "locate", text("os")))
    + b"R",
    "_operator.methodcaller": call("_operator", "methodcaller", text("system"), _SHELL) + tuple_of(_IMPORTED) + b"R",
    "_operator.attrgetter": call("_operator", "attrgetter", text("system")) + tuple_of(_IMPORTED) + b"R",
    "pkgutil.resolve_name": call("pkgutil", "resolve_name", text("os:system")) + tuple_of(_SHELL) + b"R",
    "pty.spawn": call("pty", "spawn", _SH),
    "distutils.file_util.write_file": call("distutils.file_util", "write_file", text("lineament-canary"), b"]"),
    "ssl.get_server_certificate": call("ssl", "get_server_certificate", tuple_of(text("127.0.0.1"), integer(9))),
    "uuid._get_command_stdout": call("uuid", "_get_command_stdout", text("sh"), text("-c"), _SHELL),
    "_osx_support._read_output": call("_osx_support", "_read_output", _SHELL),
    "_osx_support._find_build_tool": call("_osx_support", "_find_build_tool", text(f"x; {SHELL} #")),
    "_aix_support._read_cmd_output": call("_aix_support", "_read_cmd_output", _SHELL),
    "_pyrepl.pager.pipe_pager": call("_pyrepl.pager", "pipe_pager", text("x"), _SHELL),
    "imaplib.IMAP4_stream": call("imaplib", "IMAP4_stream", _SHELL),
    "test.support.script_helper": call("test.support.script_helper", "assert_python_ok", text("-c"), _EVAL),
    "logging.FileHandler": call("logging", "FileHandler", text("lineament-canary")),
    "logging.config": call("logging.config", "dictConfig", dict_of(version=b"K\x01")),
    "_io.FileIO": call("_io", "FileIO", text("lineament-canary"), text("w")),
    "urllib.request.urlopen": call("urllib.request", "urlopen", text("file:///etc/passwd")),
    "http.client.HTTPSConnection": call("http.client", "HTTPSConnection", text("127.0.0.1")),
    "aiohttp.client.ClientSession": call("aiohttp.client", "ClientSession"),
    "webbrowser.open": call("webbrowser", "open", text("file:///etc/passwd")),
    "sys.exit": call("sys", "exit", integer(0)),
    # fickling and modelaudit: their advisories and tests of bypasses
    "runpy.run_path": call("runpy", "run_path", text("evil.py")),
    "multiprocessing.util.spawnv_passfds": call("multiprocessing.util", "spawnv_passfds", text("/bin/sh"), _SH, b")"),
    "_posixsubprocess.fork_exec": call("_posixsubprocess", "fork_exec", _SH),
    "_xxsubinterpreters.run_string": call("_xxsubinterpreters", "run_string", integer(0), _EVAL),
    "_interpreters.exec": call("_interpreters", "exec", integer(0), _EVAL),
    "pipes.Template": call("pipes", "Template"),
    "zipimport.zipimporter": call("zipimport", "zipimporter", text("evil.zip")),
    "imp.load_source": call("imp", "load_source", text("evil"), text("evil.py")),
    "importlib.util.spec_from_file_location": call("importlib.util", "spec_from_file_location", text("x")),
    "smtplib.SMTP": call("smtplib", "SMTP", text("127.0.0.1")),
    "telnetlib.Telnet": call("telnetlib", "Telnet", text("127.0.0.1")),
    "socketserver.TCPServer": call("socketserver", "TCPServer", tuple_of(text("127.0.0.1"), integer(9)), b"N"),
    "sqlite3.connect": call("sqlite3", "connect", text("lineament-canary")),
    "signal.signal": call("signal", "signal", integer(14), name("os", "abort")),
    "threading.Thread": call("threading", "Thread", b"N", name("os", "system")),
    "faulthandler._sigsegv": call("faulthandler", "_sigsegv"),
    "a scanner switched off": call("fickling.hook", "deactivate_safe_ml_environment"),
    "pathlib and os.system": dotted("pathlib", "os.system", _SHELL),
    "types.CodeType": call("types", "CodeType", integer(0)),
    "codecs.decode": call("codecs", "decode", _EVAL, text("rot13")),
    "cloudpickle subimport": call("cloudpickle.cloudpickle", "subimport", text("os")),
    "dill._dill._create_function": call("dill._dill", "_create_function", b"N"),
    "joblib.load": call("joblib", "load", text("other.joblib")),
    "pandas.read_pickle": call("pandas.io.pickle", "read_pickle", text("other.pkl")),
    "setuptools": call("setuptools.sandbox", "run_setup", text("setup.py")),
    "commands.getoutput": call("commands", "getoutput", _SHELL),
    "apply of Python 2": call("__builtin__", "apply", name("os", "system"), tuple_of(_SHELL)),
    "builtins.map": call("builtins", "map", name("os", "system"), b"(" + _SHELL + b"l"),
    "builtins.breakpoint": call("builtins", "breakpoint"),
    "functools.partial": call("functools", "partial", name("torch.serialization", "load"), text("other.pt")) + b")R",
}  # fmt: skip
"""Calls by what they name."""

PUBLISHED_WORKING = (
    "torch.jit.unsupported_tensor_ops.execWrapper",
    "torch.utils._config_module.ConfigModule.load_config",
    "torch.utils.collect_env.run",
    "numpy.f2py.crackfortran.getlincoef",
    "pydoc.pipepager",
    "pydoc.locate and methodcaller",
    "_operator.methodcaller",
    "pkgutil.resolve_name",
    "uuid._get_command_stdout",
    "_osx_support._read_output",
    "pathlib and os.system",
)
"""Those that Python's own unpickler is made to run in the tests; the others take long, other versions, or a network."""


def _add_published() -> None:
    places: list[Callable[[bytes], bytes]] = [
        lambda body: zipped(dict_of(g_ema=dict_of(w=tensor()), args=body)),
        lambda body: legacy(dict_of(g=body)),
        lambda body: b"\x80\x04" + dict_of(G_ema=b"(" + body + b"l") + b".",
        lambda body: nested(legacy(body)),
        lambda body: pickled(made.name("collections", "OrderedDict") + b")R" + body + b"b"),
        lambda body: zipped(dict_of(w=tensor()) + body + b"0"),
    ]
    for index, (label, body) in enumerate(PUBLISHED.items()):
        CORPUS[f"published: {label}"] = lambda place=places[index % 6], body=body: place(body)


_add_published()
