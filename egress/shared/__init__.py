"""State that several replicas of the proxy share, in Redis or Valkey."""
