"""The command line, generated from the recipes' dataclasses."""
