"""What a run holds, and what it would cost."""
