"""The published splits beside scikit-learn's, and a comparison of four networks that two cores can train."""
