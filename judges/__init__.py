"""LLM-as-judge: a judge is a scorer, and a request to it goes through the same ledger. Nothing here yet."""
