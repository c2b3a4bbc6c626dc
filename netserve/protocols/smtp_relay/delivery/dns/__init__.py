"""What delivery asks DNS."""
