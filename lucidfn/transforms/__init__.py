"""What can be done to a computation: differentiate it, run it backwards, batch it."""
