"""The package as a whole: light, layered, documented, and no setting that nothing reads."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import warnings
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import lineament

ROOT = Path(__file__).parents[1]
NAMES = sorted(m.name for m in pkgutil.walk_packages(lineament.__path__, "lineament.") if "__main__" not in m.name)


def test_import_is_light() -> None:
    code = (
        "import sys, lineament, lineament.errors; "
        "heavy = {'torch', 'numpy', 'PIL', 'rich', 'tyro', 'lightning_fabric'} & set(sys.modules); "
        "sys.exit(f'imports {sorted(heavy)}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_rooms_import_one_way_only(tmp_path: Path) -> None:
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(ROOT / 'pyproject.toml')!r}, cache_dir={str(tmp_path)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), name
    missing = []
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            missing += [] if (value.__doc__ or "").strip() else [key]
        if inspect.isclass(value):
            missing += [
                f"{key}.{method}"
                for method, function in vars(value).items()
                if inspect.isfunction(function) and not method.startswith("_") and not (function.__doc__ or "").strip()
            ]
    assert missing == []


def recipe_configs() -> list[tuple[ModuleType, type]]:
    found = []
    for name in NAMES:
        if name.startswith(("lineament.settings.", "lineament.records.")):
            module = importlib.import_module(name)
            found += [
                (module, value)
                for key, value in vars(module).items()
                if key.endswith("Config") and is_dataclass(value) and value.__module__ == name
            ]
    return found


CONFIGS = recipe_configs()


def names_read(tree: ast.AST) -> set[str]:
    """Attributes that are read, apart from those of a class's own validation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [n for n in node.body if getattr(n, "name", "") != "__post_init__"]
    return {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}


@pytest.fixture(scope="module")
def read_anywhere() -> dict[str, set[str]]:
    """By module, the attributes that its code reads."""
    return {
        name: names_read(ast.parse(inspect.getsource(importlib.import_module(name))))
        for name in NAMES
        if not name.startswith("lineament.cli")
    }


@pytest.mark.parametrize(("module", "config"), CONFIGS, ids=[config.__name__ for _, config in CONFIGS])
def test_every_setting_is_read_and_explained(
    module: ModuleType, config: type, read_anywhere: dict[str, set[str]]
) -> None:
    source = inspect.getsource(module)
    named = re.compile(rf"\b{config.__name__}\b")
    read = set().union(
        *(
            read
            for name, read in read_anywhere.items()
            if named.search(inspect.getsource(importlib.import_module(name)))
        )
    )
    assert {field.name for field in fields(config)} - read == set()
    (definition,) = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == config.__name__]
    body = definition.body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
            assert isinstance(after, ast.Expr), f"{config.__name__}.{ast.unparse(node.target)} has no docstring"
            assert isinstance(after.value, ast.Constant)


def test_the_recipes_that_must_exist_have_configs() -> None:
    names = {config.__name__ for _, config in CONFIGS}
    assert {"TrainGeneratorConfig", "TrainDecomposerConfig", "DiscoverConfig"} <= names


def test_version_is_a_release() -> None:
    assert [part.isdecimal() for part in lineament.__version__.split(".")] == [True] * 3


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 10
    assert code.count("import ") == 1
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lineament.ExtrapolationWarning)
        exec(code, names)
    assert names["turned"].tensor.shape == (8, 3, 64, 64)
    assert (tmp_path / "turned.png").stat().st_size > 10_000
    change = names["turned"].values["yaw"] - names["faces"].values["yaw"]
    assert 13 < float(np.median(change)) < 17
    assert len(names["front"].images) == 1


def test_the_front_door_is_complete_and_light() -> None:
    assert {"open", "discover", "balance", "to", "load_atlas", "Editor", "Faces"} <= set(dir(lineament))
    for name in lineament.__all__:
        assert getattr(lineament, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        _ = lineament.opne  # pyright: ignore[reportAttributeAccessIssue]
    assert (ROOT / "src/lineament/py.typed").exists()
