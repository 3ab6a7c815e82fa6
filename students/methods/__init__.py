"""Training methods: a recipe names one in `student.method`. A new one is one module here (see `registry.py`)."""
