"""The stages of a run: each gets a context, its settings and its inputs, and returns what it found."""
