"""Math-Verify next to our checker: where the two differ on the same pairs, and why. Nothing else here needs it."""
