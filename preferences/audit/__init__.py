"""The audit of a preference data set: what refuses it, what warns, and what to do about each."""

from stillroom.preferences.audit.audit import Audit, audit, audit_rows
from stillroom.preferences.audit.findings import Finding

__all__ = ["Audit", "Finding", "audit", "audit_rows"]
