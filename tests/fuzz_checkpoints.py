"""A coverage-guided fuzz of everything that reads foreign checkpoints.

    python -m tests.fuzz_checkpoints --minutes 10 --seed 0

Files of every kind, and all hostile ones, are damaged again and again.
"""

import random
import zipfile

from tests import foreign_checkpoints as made
from tests import hostile
from tests.fuzzing import LARGEST, File, Subject, damaged_bytes, main


class Checkpoints(Subject):
    """Checkpoints of other programs, changed byte by byte."""

    readers: tuple[str, ...] = ("store/foreign/*.py",)

    def seeds(self) -> list[File]:
        """Honest files of every kind, several times, and the hostile ones that are small."""
        honest = [
            *(made.nvidia_torch(protocol) for protocol in range(6)),
            *(made.nvidia_tensorflow(protocol) for protocol in range(6)),
            *(made.saved(made.rosinality(), legacy=legacy) for legacy in (False, True)),
            *(made.saved(made.generator(), legacy=legacy, protocol=4) for legacy in (False, True)),
            made.zipped(made.dict_of(w=made.tensor())),
            made.zipped(made.dict_of(w=made.tensor()), method=zipfile.ZIP_DEFLATED),
        ]
        bad = [maker() for maker in hostile.CORPUS.values()]
        return [("checkpoint", data) for data in 5 * honest + [data for data in bad if len(data) <= LARGEST]]

    def damaged(self, rng: random.Random, pool: list[File]) -> File:
        """A file changed byte by byte."""
        opener, data = rng.choice(pool[-50:] if rng.random() < 0.3 else pool)
        return opener, damaged_bytes(rng, data, [other for _, other in pool])


if __name__ == "__main__":
    main(Checkpoints(), __doc__)
