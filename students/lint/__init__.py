"""The lint before training: finds what fails silently elsewhere, on rows rendered exactly as the trainer feeds them.

report = lint_sft(run / "sft", settings, test=tasks.test)
report.errors, report.warnings
report.raise_if_errors()                                       # TrainingError
"""

from stillroom.students.lint.lint import Vocabulary, lint_pairs, lint_sft, lint_tokenizers, vocabulary_of
from stillroom.students.lint.report import Finding, LintLimits, LintReport, MaskedRow, Meaning
from stillroom.students.records import Answered, Checker

__all__ = [
    "Answered",
    "Checker",
    "Finding",
    "LintLimits",
    "LintReport",
    "MaskedRow",
    "Meaning",
    "Vocabulary",
    "lint_pairs",
    "lint_sft",
    "lint_tokenizers",
    "vocabulary_of",
]
