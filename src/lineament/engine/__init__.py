"""What every long run shares: run folder, state, devices, work in pieces, messages, mechanics of training."""
