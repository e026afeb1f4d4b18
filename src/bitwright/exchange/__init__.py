"""What crosses the border to other tools: their files in and ours out."""
