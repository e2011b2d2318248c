"""HTTP: the contract under `api`, the dashboard under `ui`, and how gunicorn serves both."""
