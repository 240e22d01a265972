"""What the Helm chart has of Python: values, schema, placement, the Job's constant part."""
