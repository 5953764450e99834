"""Floor 2: what this daemon does towards others: watch the directory, push to peers, follow their states."""
