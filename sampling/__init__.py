"""The rejection-sampling core that both paths share: teachers, the draw-score-stop loop, the ledger."""
