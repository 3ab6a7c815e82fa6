"""The folder of a run, its context, its progress."""
