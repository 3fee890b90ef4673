"""What scripts/trace-view is made of: the trace (model), tables, a text timeline, a picture."""
