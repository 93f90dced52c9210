"""Measuring: all methods alike, through the one pipeline, against labels, boxes and masks."""
