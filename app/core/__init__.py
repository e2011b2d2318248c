"""What every part stands on: settings, errors, metrics, logs, quantities and timestamps."""
