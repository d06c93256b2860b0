# Sourced by /init where xl is asked for.
