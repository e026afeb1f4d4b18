"""What comes from other tools' files and goes to them: quantized networks as plans."""
