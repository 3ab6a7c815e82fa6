"""The judge of preferences.yaml: 1 for the right queue and nothing else, 0 for anything else."""


def rate(task, attempt):  # type: ignore[no-untyped-def]
    """Compares with the gold label."""
    return float(attempt.text.strip().lower() == task.reference)
