"""The verbs: one readable program each, a frozen config and one `run`."""
