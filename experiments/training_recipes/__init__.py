"""Training recipes compared over seeds: which converge, and how well."""
