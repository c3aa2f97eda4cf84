"""Shared by all long runs: run folder, state, devices, work in pieces, messages, parts of training."""
