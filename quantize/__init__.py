"""From an fp32 bundle to INT8 and Matryoshka bundles."""
