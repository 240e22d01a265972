"""The parts of the Helm chart that are generated from Python: values, schema, placement, the Job's constant part."""
