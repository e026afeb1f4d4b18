"""What comes from the files of other tools, and what leaves for them."""
