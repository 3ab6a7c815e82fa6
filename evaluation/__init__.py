"""What was gained and what was lost: metrics, comparisons, retention, the guard of a loop."""
