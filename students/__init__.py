"""Students: training methods (trl and peft), the rows they read, the lint before training, and export."""
