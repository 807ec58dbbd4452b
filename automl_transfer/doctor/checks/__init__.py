"""One check a file; `doctor.registry` names them."""
