"""What the platform says of itself: logs."""
