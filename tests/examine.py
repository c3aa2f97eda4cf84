"""Open everything hostile and fuzz a little, in one process without a type checker; prints what happened as JSON.

LINEAMENT_CANARY=/tmp/canary python -m tests.examine FOLDER ITERATIONS
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests import hostile
from tests.fuzz_checkpoints import Checkpoints
from tests.fuzz_files import OwnFiles
from tests.fuzzing import fuzz

if __name__ == "__main__":
    folder, iterations = Path(sys.argv[1]), int(sys.argv[2])
    found = {"hostile": hostile.examine(folder)}
    for name, subject in (("checkpoints", Checkpoints()), ("files", OwnFiles())):
        found[name] = asdict(fuzz(subject, seed=0, folder=folder, minutes=0.0, iterations=iterations))
    json.dump(found, sys.stdout)
