"""Settings of every command: plain values with their explanations, so light that help and mistakes cost no time."""
