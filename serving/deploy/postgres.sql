-- The image makes the database `felsina`; MLflow keeps its own, and one of its users.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
