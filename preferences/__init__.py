"""Preferences: scored candidates become chosen/rejected pairs, audited, as rows for DPO."""
