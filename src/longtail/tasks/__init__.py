"""What a batch is, what its loss is and how a model is judged: one task a file."""
