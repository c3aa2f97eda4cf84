"""Run one network of an original TensorFlow program: write its checkpoint as the program does, and what it computes.

`benchmarks.originals` calls this file by its path, with an interpreter whose ``tensorflow`` is of the version 1 that
the programs need. It holds no code of the programs, only calls.
"""

import importlib
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np


def use_reference_operations():
    """Let the programs' operations default to their reference implementations, which need no compiler."""
    for name in ("fused_bias_act", "upfirdn_2d"):
        try:
            module = importlib.import_module(f"dnnlib.tflib.ops.{name}")
        except ImportError:  # StyleGAN has none
            continue
        for value in vars(module).values():
            if isinstance(value, types.FunctionType) and value.__defaults__:
                value.__defaults__ = tuple("ref" if one == "cuda" else one for one in value.__defaults__)


def disturb(tflib, network, rng, image_scale):
    """Move what is zero or one in a new network away from that; see `benchmarks.original_torch.disturb`."""
    values = {}
    for name, variable in network.vars.items():
        shape, last = tflib.tfutil.shape_to_list(variable.shape), name.split("/")[-1]
        if last in ("noise_strength", "dlatent_avg", "const") or name.endswith("Noise/weight"):
            values[variable] = rng.normal(size=shape) * 0.3
        elif last in ("bias", "mod_bias"):
            values[variable] = rng.normal(size=shape) * (10.0 if "mapping" in name else 0.2)
        elif image_scale != 1 and "ToRGB" in name:
            values[variable] = rng.normal(size=shape) * image_scale
    tflib.set_vars({variable: np.float32(value) for variable, value in values.items()})


def outputs(case, judge, averaged, inputs):
    """What the program computes, by the names that `benchmarks.originals` compares."""
    z, label = inputs["z"], inputs["label"]
    # The fused form needs grouped transposed convolutions, which TensorFlow lacks on CPUs.
    options = {"randomize_noise": False, "fused_modconv": False}
    found = {
        "w": averaged.components.mapping.run(z, label),
        "image": averaged.run(z, label, truncation_psi=1, **options),
        "truncated image": averaged.run(z, label, truncation_psi=0.7, truncation_cutoff=case["all_layers"], **options),
        "score": judge.run(inputs["images"], inputs["labels"]).reshape(-1),
    }
    if case["cutoff"]:  # the program's own default, which is not given here
        found["image, {} layers truncated".format(case["cutoff"])] = averaged.run(
            z, label, truncation_psi=0.7, **options
        )
    return found


def main(folder):
    """Read ``case.json`` and ``inputs.npz`` in the folder; write ``checkpoint`` and ``outputs.npz`` there."""
    case = json.loads((folder / "case.json").read_text())
    sys.path[0] = case["program"]
    tflib = importlib.import_module("dnnlib.tflib")
    use_reference_operations()
    tflib.init_tf({"rnd.np_random_seed": 0, "rnd.tf_random_seed": 0, "allow_soft_placement": True})
    sizes = {"num_channels": 3, "resolution": case["resolution"], "label_size": case["classes"]}
    latents = {"latent_size": case["z_dim"], "dlatent_size": case["z_dim"], "mapping_fmaps": case["z_dim"]}
    generator = tflib.Network("G", func_name=case["module"], **sizes, **latents, **case["generator"])
    judge = tflib.Network("D", func_name=case["judge_module"], **sizes, **case["judge"])
    averaged = generator.clone("Gs")
    for number, network in enumerate((generator, judge, averaged)):
        disturb(tflib, network, np.random.RandomState(number), case["image_scale"])
    with np.load(folder / "inputs.npz") as stored:
        inputs = {name: stored[name] for name in stored.files}
    np.savez(folder / "outputs.npz", **outputs(case, judge, averaged, inputs))
    with (folder / "checkpoint").open("wb") as stream:
        pickle.dump((generator, judge, averaged), stream, protocol=pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
