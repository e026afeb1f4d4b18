"""Reports: results as tables, JSON and CSV. A report computes nothing but the scale of its units."""
