"""``python -m experiments.unbalanced_pose``."""

from .run import main

main()
