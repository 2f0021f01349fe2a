"""Published statistics: files of figures read by declarations, their totals checked, and files to publish."""
