"""What is written of a student."""
