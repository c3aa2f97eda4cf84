"""The Python front door: what ``import lineament`` gives.

The `Editor` combines a generator with its decomposer, its encoder and its atlas; `open` checks that they belong
together. Nothing here prints: messages go to the logger "lineament", progress to the callback ``on_progress``. Edits
that leave the range of faces seen warn with `ExtrapolationWarning`.
"""
