"""A local model as a teacher, with transformers."""
