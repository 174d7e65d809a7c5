"""Tasks to evaluate on: people's own files, known data sets on this machine, and tasks of embedkit's own. Imports mteb."""
