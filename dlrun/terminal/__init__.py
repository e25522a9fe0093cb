"""What the user sees and sends: the screen, the streams, the signals."""
