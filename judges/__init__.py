"""LLM-as-judge: rubrics, pointwise, pairwise, tournament and jury, and their calibration against human labels."""
