"""Operations on finished outputs and bundles: evaluate, calibrate, importance, verify, bench."""
