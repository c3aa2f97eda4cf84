"""Numbers of processes: those of the settings, those that a launcher has started, and contradictions between them."""

from types import SimpleNamespace
from typing import Any

import pytest

from lineament.engine import devices
from lineament.engine.devices import check_alone, first_process, make_fabric, place_of, processes_of
from lineament.errors import BusyError, ConfigError
from lineament.records.devices import Device, Devices

VARIABLES = (
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_STEP_NUM_NODES",
    "MASTER_ADDR",
    "NODE_RANK",
)


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def torchrun(monkeypatch: pytest.MonkeyPatch, world: int, local: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(local))


@pytest.mark.parametrize(("given", "expected"), [(Devices(), (1, 1)), (Devices(count=3), (3, 1))])
def test_without_a_launcher_the_settings_count(given: Devices, expected: tuple[int, int]) -> None:
    assert processes_of(given) == expected


@pytest.mark.parametrize(
    ("world", "local", "given"),
    [
        (2, 2, Devices()),
        (4, 2, Devices()),
        (4, 2, Devices(count=2)),
        (4, 2, Devices(count=2, nodes=2)),
        (1, 1, Devices()),
    ],
)
def test_processes_of_torchrun_are_followed(
    monkeypatch: pytest.MonkeyPatch, world: int, local: int, given: Devices
) -> None:
    torchrun(monkeypatch, world, local)
    assert processes_of(given) == (local, world // local)


@pytest.mark.parametrize(
    ("world", "local", "given", "said"),
    [
        (2, 2, Devices(count=1), "--on.count is 1, but torchrun has 2 on each machine; leave --on.count out"),
        (4, 2, Devices(count=4), "--on.count is 4, but torchrun has 2 on each machine"),
        (4, 2, Devices(nodes=1), "--on.nodes is 1, but torchrun has 2 as the number of machines"),
        (3, 2, Devices(), "torchrun has started 3 processes, not as many on each machine"),
    ],
)
def test_settings_that_contradict_torchrun_are_refused(
    monkeypatch: pytest.MonkeyPatch, world: int, local: int, given: Devices, said: str
) -> None:
    torchrun(monkeypatch, world, local)
    with pytest.raises(ConfigError, match=said):
        make_fabric(given)


def test_processes_of_srun_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    assert processes_of(Devices()) == (4, 2)


def test_machines_need_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"use torchrun --nnodes 2, or leave --on\.nodes out"):
        make_fabric(Devices(nodes=2))
    monkeypatch.setenv("MASTER_ADDR", "first")
    monkeypatch.setenv("NODE_RANK", "0")
    assert processes_of(Devices(nodes=2)) == (1, 2)


def test_a_command_of_one_process_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun(monkeypatch, 2, 2)
    for start in (check_alone, lambda: make_fabric(Device())):
        with pytest.raises(ConfigError, match="torchrun has started 2 processes, but this command works in one"):
            start()
    assert place_of(Device("cpu")).type == "cpu"  # a user's own program may use networks in every process
    torchrun(monkeypatch, 1, 1)
    check_alone()


def test_the_numbers_reach_fabric(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def fabric(**options: Any) -> Any:
        seen.update(options)
        return SimpleNamespace(launch=lambda: None)

    torchrun(monkeypatch, 4, 2)
    monkeypatch.setattr(devices, "Fabric", fabric)
    with pytest.raises(Exception, match="return"):  # beartype: this is no Fabric
        make_fabric(Devices(accelerator="cpu", count=2))
    assert (seen["devices"], seen["num_nodes"], seen["strategy"]) == (2, 2, "ddp")


@pytest.mark.parametrize("given", [{"count": 0}, {"count": -1}, {"nodes": 0}])
def test_numbers_below_one_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"on\.(count|nodes) is .*; raise it"):
        Devices(**given)


def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"choose another --on\.accelerator") as caught:
        make_fabric(Devices(accelerator="mps"))
    assert "\n" not in str(caught.value)


def test_all_processes_raise_what_the_first_one_meets() -> None:
    def busy() -> None:
        raise BusyError("taken")

    first = make_fabric(Devices(accelerator="cpu"))
    with pytest.raises(BusyError, match="taken"):
        first_process(first, busy)
    first_process(first, lambda: None)
