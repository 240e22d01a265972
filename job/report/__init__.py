"""What a run says about itself to people."""
