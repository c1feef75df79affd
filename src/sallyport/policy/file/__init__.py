"""From YAML to a :class:`~sallyport.policy.model.Policy`: text, shapes, patterns, conditions."""
