"""Tasks to evaluate on: own files, known data sets on this machine, and tasks that are made here. Imports mteb."""
