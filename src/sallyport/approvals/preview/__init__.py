"""What a held statement would do, measured for its reviewers."""
