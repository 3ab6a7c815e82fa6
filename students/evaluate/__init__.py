"""Evaluation: what each of several models got on the same held-out tasks, with intervals and paired tests."""
