"""What is learned: one file an objective, each a small object of the protocol in `batch`."""
