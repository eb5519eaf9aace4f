"""Reports: scores, comparison sheets, the analysis of rain, and near-duplicates."""
