# Secrets are read from files, and never stand in a command line.
set -eu
PGPASSWORD="$(cat /run/secrets/postgres_password)"
AWS_SECRET_ACCESS_KEY="$(cat /run/secrets/minio_password)"
export PGPASSWORD AWS_SECRET_ACCESS_KEY
python - <<'PYTHON'
import os

import boto3

store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if "mlflow" not in [bucket["Name"] for bucket in store.list_buckets()["Buckets"]]:
    store.create_bucket(Bucket="mlflow")
PYTHON
exec mlflow server --host 0.0.0.0 --port 5000 --workers 2 \
    --backend-store-uri postgresql+psycopg://felsina@postgres/mlflow \
    --artifacts-destination s3://mlflow --serve-artifacts \
    --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:-localhost:5000,127.0.0.1:5000,mlflow:5000}"
