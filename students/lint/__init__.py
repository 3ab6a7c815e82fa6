"""The lint before training: what fails silently elsewhere is found here, named, and told with its consequence.

    from stillroom.students.lint import lint_sft, lint_pairs, lint_tokenizers

    report = lint_sft(run / "sft", settings, test=tasks.test)
    report.errors, report.warnings
    report.raise_if_errors()                                       # TrainingError
    report.write_page(run / "lint.html")                           # rows with the loss mask in colour

It renders real rows exactly as the trainer feeds them: our own encoding, trl's collator, the student's own template.
"""

from stillroom.students.lint.compatibility import Vocabulary, lint_tokenizers, vocabulary_of
from stillroom.students.lint.findings import Finding, LintLimits, Meaning
from stillroom.students.lint.lint import lint_pairs, lint_sft
from stillroom.students.lint.report import LintReport, MaskedRow
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
