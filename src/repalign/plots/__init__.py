"""Style, and the few shapes that figures share."""
