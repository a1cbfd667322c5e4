"""Asks a lake of many gateways as its owner does: lake_shared.py LIBRARIES DATABASE_PORT STORE_PORT SQL

Prints the rows as one line of JSON.
"""

import json
import sys

import duckdb

libraries, database, store, sql = sys.argv[1:]
lake = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
for extension in ("httpfs", "postgres_scanner", "ducklake"):
    lake.execute(f"LOAD '{libraries}/{extension}.duckdb_extension'")
lake.execute(
    "CREATE SECRET (TYPE s3, KEY_ID 'key', SECRET 'secret-of-the-store', REGION 'us-east-1', "
    f"ENDPOINT '127.0.0.1:{store}', URL_STYLE 'path', USE_SSL false)"
)
lake.execute(
    f"ATTACH 'ducklake:postgres:host=127.0.0.1 port={database} user=gateway dbname=lake' AS lake (DATA_PATH 's3://lake/tables/')"
)
print(json.dumps(lake.execute(sql).fetchall()))
