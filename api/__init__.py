"""The REST surface of Jobseal: translates HTTP into calls of `relayer` services and back."""
