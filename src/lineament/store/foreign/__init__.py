"""Read files of other programs without running any code in them."""
