"""Reports: scores, comparison sheets, the analysis of rain, near-duplicates."""
