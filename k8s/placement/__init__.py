"""Where a GPU is: pure functions over plain nodes."""
