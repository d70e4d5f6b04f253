# Secrets are read from files, and never stand in a command line or in a file of ours.
set -eu
secrets=${SECRETS:-/run/secrets}
database=postgresql+psycopg://${POSTGRES:-felsina@postgres}
PGPASSWORD="$(cat "$secrets/postgres_password")"
AWS_SECRET_ACCESS_KEY="$(cat "$secrets/minio_password")"
MLFLOW_AUTH_ADMIN_PASSWORD="$(cat "$secrets/mlflow_password")"
# Of the page on which an administrator makes users, not of anybody's password.
MLFLOW_FLASK_SERVER_SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')"
MLFLOW_AUTH_CONFIG_PATH="$(mktemp)"
# Jobs would be handed from process to process as pickles; Felsina has none.
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export PGPASSWORD AWS_SECRET_ACCESS_KEY MLFLOW_AUTH_ADMIN_PASSWORD
export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_AUTH_CONFIG_PATH MLFLOW_SERVER_ENABLE_JOB_EXECUTION
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
database_uri = $database/mlflow_auth
admin_username = admin
default_permission = NO_PERMISSIONS
auth_cache_ttl_seconds = 60
INI
# One server of several makes tables and bucket, the others wait: migrations at once break each other.
python - "$database" <<'PYTHON'
import os
import sys

import boto3
import psycopg
from mlflow.db import upgrade as make_tables
from mlflow.server.auth.db.cli import upgrade as make_users_tables

address = sys.argv[1]
with psycopg.connect(address.replace("+psycopg", "") + "/mlflow", autocommit=True) as connection:
    connection.execute("SELECT pg_advisory_lock(hashtext('mlflow'))")
    make_tables.callback(f"{address}/mlflow")
    make_users_tables.callback(f"{address}/mlflow_auth", "head")
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    if "mlflow" not in [bucket["Name"] for bucket in store.list_buckets()["Buckets"]]:
        store.create_bucket(Bucket="mlflow")
PYTHON
exec python -m mlflow server --app-name basic-auth \
    --host "${HOST:-0.0.0.0}" --port "${PORT:-5000}" --workers "${WORKERS:-2}" \
    --backend-store-uri "$database/mlflow" \
    --artifacts-destination s3://mlflow --serve-artifacts \
    --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:-localhost:5000,127.0.0.1:5000,mlflow:5000}"
