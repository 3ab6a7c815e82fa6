"""Students: training (trl and peft) and evaluation."""
