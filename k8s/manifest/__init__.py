"""ConfigMap and Job, as pure functions of spec, placement and settings."""
