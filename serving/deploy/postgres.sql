-- The image makes the database `felsina`; MLflow keeps its own.
CREATE DATABASE mlflow;
