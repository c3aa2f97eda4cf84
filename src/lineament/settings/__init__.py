"""Settings of every command, as plain values with explanations. They import little, so that help and usage errors are
fast."""
