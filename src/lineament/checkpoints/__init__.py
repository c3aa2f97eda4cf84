"""Load networks from files: shipped ones, our own, those of other programs, and grown ones."""
