"""White-box distillation: a student learns what a teacher nearly said, from the teacher's weights."""
