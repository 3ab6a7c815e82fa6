"""Settings of the tests of this room."""

from __future__ import annotations

import hypothesis

# Deadlines would fail tests for nothing but a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
