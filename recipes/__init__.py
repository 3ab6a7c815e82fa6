"""The shipped recipes, no code: each folder holds a YAML and a README with its measured result."""
