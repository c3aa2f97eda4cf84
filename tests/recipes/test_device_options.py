"""No command takes an option of devices that it ignores."""

import importlib
import inspect
import typing

import pytest

from lineament.cli.main import COMMANDS, Command
from lineament.records.devices import Device, Devices, TrainingDevice

SHARES_WORK = ("fabric.world_size", "Work(")
"""What a recipe that uses several processes cannot do without: shares of a batch, or pieces of work."""


def device_settings(command: Command) -> type[Device] | None:
    config = getattr(importlib.import_module(command.settings), command.config)
    return typing.get_type_hints(config).get("devices")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=[" ".join(words) for words in COMMANDS])
def test_count_and_precision_are_offered_where_they_act(command: Command) -> None:
    kind, source = device_settings(command), inspect.getsource(importlib.import_module(command.recipe))
    if kind is None:
        assert "make_fabric" not in source
        return
    assert issubclass(kind, Devices) == any(words in source for words in SHARES_WORK)
    assert issubclass(kind, TrainingDevice) == ("autocast()" in source)
