"""From options to a container: docker's grammars, the OCI runtime spec, the life of a container."""
