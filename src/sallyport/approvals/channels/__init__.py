"""Where reviewers are told: webhooks, mail, Slack."""
