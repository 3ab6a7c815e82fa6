"""Path 1: tasks with a known answer, answer checking, filters, SFT rows."""
