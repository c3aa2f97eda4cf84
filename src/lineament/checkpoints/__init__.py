"""From files to networks: shipped ones, our own, those of other programs, grown ones."""
