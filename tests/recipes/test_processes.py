"""Commands under a real torchrun: its processes are followed, or refused in words; nothing runs twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lineament.checkpoints.ours import load_generator
from lineament.store.tensors import load_tensors
from tests import tiny

SIZES = "--network.resolution=32 --network.z-dim=8 --network.w-dim=8 --network.num-mapping-layers=2"
TRAIN = f"train generator {SIZES} --network.channel-base=64 --network.channel-max=6 --batch-size=4 --kimg=0.012"


def torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lineament"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, *words, "--on.accelerator=cpu"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_is_followed_or_refused(tmp_path: Path) -> None:
    tiny.image_folder(tmp_path / "in")
    train = [*TRAIN.split(), "--images=in", "--out=out", "--snapshot-kimg=0.004", "--eval-images=4"]
    done = torchrun(tmp_path, *train)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["out/generator.safetensors"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    assert load_tensors(tmp_path / "out" / "state.safetensors", "training-state", "pt")[1]["step"] == 3
    assert load_generator(tmp_path / "out" / "generator.safetensors").config == tiny.GENERATOR
    assert not (tmp_path / "out" / ".lock").exists()

    refused = torchrun(tmp_path, *train, "--on.count=1")
    assert refused.returncode != 0
    assert "--on.count is 1, but torchrun has 2 on each machine" in refused.stderr

    alone = torchrun(tmp_path, "discover", "--out=found", "--samples=200", "--held-out=20", "--parts.no-find")
    assert alone.returncode != 0
    assert "torchrun has started 2 processes, but this command works in one" in alone.stderr
    assert not (tmp_path / "found").exists()
