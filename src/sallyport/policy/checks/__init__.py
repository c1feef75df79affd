"""What a policy asks of a statement besides its rules' verdicts."""
