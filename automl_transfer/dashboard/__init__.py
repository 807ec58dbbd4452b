"""optuna-dashboard for a store, safe to open: its WSGI application behind one small middleware per rule."""
