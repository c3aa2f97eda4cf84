"""Names in a pickle that are used to run code.

Lineament never runs anything that a pickle names, so it does not need these lists for its own safety. They warn the
user: a checkpoint that carries an attack should be thrown away, not opened without a warning. Names that are not listed
stay inert. Two kinds of modules are listed by their dangerous functions alone: those whose names people also give to
their own modules (``test``, ``code``, ``process``), and harmless ones that occur in settings (``pathlib``, ``uuid``).
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MODULES = _words(
    """
    _aix_support _ctypes _frozen_importlib _frozen_importlib_external _imp _interpreters _operator _osx_support
    _pickle _posixsubprocess _pyrepl _socket _thread _winapi _xxsubinterpreters aifc aiohttp antigravity asyncio bdb
    cPickle cProfile cgi cgitb cloudpickle codeop compileall ctypes dill dis distutils doctest ensurepip faulthandler
    fcntl fickling fileinput ftplib httplib idlelib imaplib imp importlib inspect IPython ipykernel joblib jsonpickle
    lib2to3 linecache lldb mailcap marshal mmap modelaudit modelscan modulefinder msvcrt multiprocessing nntplib nt
    ntpath numexpr openpty operator os pdb pexpect picklescan pickle pickletools pip pkg_resources pkgutil popen2
    poplib posix posixpath posixfile pstats pty py_compile pyclbr pydoc pydoc_data pyximport readline requests runpy
    setuptools shelve shutil site smtpd smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig tarfile
    telnetlib tempfile threading timeit tkinter traceback turtle unittest urllib urllib2 urllib3 venv webbrowser
    winreg wsgiref xmlrpc xmlrpclib zipapp zipimport
    """
)
_NAMES = _words(
    """
    torch.hub torch.jit torch.package torch.fx torch._dynamo torch._inductor torch.distributed.rpc torch.testing
    torch.utils.bottleneck torch.utils.cpp_extension torch.utils.collect_env torch.utils.data.datapipes numpy.testing
    numpy.f2py numpy.distutils numpy.ctypeslib numpy.lib.npyio numpy.lib._npyio_impl scipy.io pandas.io
    pandas.core.computation logging.config concurrent.futures torch.utils._config_module test.support http.client
    http.server torch.load torch.save torch.serialization.load torch.serialization.save torch.classes.load_library
    torch.ops.load_library torch._utils._import_dotted_name torch.storage.UntypedStorage.from_file numpy.load
    numpy.save numpy.fromfile numpy.loadtxt numpy.genfromtxt numpy.memmap numpy.core.memmap.memmap numpy.vectorize
    numpy.apply_along_axis numpy.apply_over_axes numpy.fromfunction numpy.frompyfunc types.CodeType types.FunctionType
    types.LambdaType types.MethodType types.ModuleType functools.reduce functools.partialmethod
    functools.singledispatch itertools.starmap itertools.accumulate itertools.filterfalse itertools.takewhile
    itertools.dropwhile collections.namedtuple dataclasses.make_dataclass code.interact code.InteractiveConsole
    code.InteractiveInterpreter code.compile_command commands.getoutput commands.getstatusoutput profile.run
    profile.runctx profile.Profile trace.Trace process.Popen platform.popen uuid._get_command_stdout io.open
    io.open_code io.FileIO _io.open _io.open_code _io.FileIO codecs.open codecs.lookup codecs.decode zipfile.ZipFile
    logging.FileHandler pathlib.Path.unlink pandas.read_pickle pandas.eval yaml.load yaml.unsafe_load signal.signal
    weakref.finalize atexit.register pipes.Template
    """
)
"""Refused, with everything below them: parts of packages, classes with their methods, and functions."""

_BUILTINS = _words(
    """
    bool bytearray bytes complex dict float frozenset int list long object range set slice str tuple type unicode
    xrange Ellipsis NotImplemented
    """
)
_COPYREG = frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"})
_DUNDERS = frozenset({"__main__", "__mp_main__", "__torch__"})
_ATTRIBUTES = _words(
    """
    system popen exec eval execfile compile open spawn fork call check_call check_output run Popen getattr setattr
    import_module load_module unlink
    """
)
"""Refused as a part of a dotted name. Since protocol 4 a name may reach into a module by dots, such as the name
``os.system`` in the module ``torch.serialization``."""


def runs_code(module: str, name: str) -> bool:
    """Whether a pickle with this name can make a program that loads it run code.

    Args:
        module: as in the pickle, dotted.
        name: as in the pickle; since protocol 4 it may hold dots, too.
    """
    root = module.partition(".")[0]
    parts = name.split(".")
    if root in ("builtins", "__builtin__", "__builtins__"):
        return name not in _BUILTINS and not ("." not in name and name.endswith(("Error", "Exception", "Warning")))
    if module in ("copyreg", "copy_reg"):
        return name not in _COPYREG
    dotted = f"{module}.{name}"
    steps = dotted.split(".")
    return (
        root in _MODULES
        or any(".".join(steps[:count]) in _NAMES for count in range(2, len(steps) + 1))
        or (len(parts) > 1 and any(part in _MODULES or part in _ATTRIBUTES for part in parts))
        or any(
            part.startswith("__") and part.endswith("__") and part not in _DUNDERS
            for part in [*parts, *module.split(".")]
        )
    )
