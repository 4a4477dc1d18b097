"""What is done with finished outputs and finished bundles: evaluate, calibrate, importance, verify, bench."""
