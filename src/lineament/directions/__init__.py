"""From samples to an atlas, and from an atlas to an edit."""
