"""Opens the lake of a stopped gateway with a stock DuckDB, as the README says: lake_outside.py DATA EXTENSION

Prints one line of JSON: what it read, what the past showed, and what the official extension made of the files.
"""

import json
import sys

import duckdb

data, extension = sys.argv[1:]
lake = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
lake.execute(f"LOAD '{extension}'")
lake.execute(f"ATTACH 'ducklake:{data}/lake/catalog.ducklake' AS lake (DATA_PATH '{data}/lake/files/', OVERRIDE_DATA_PATH true)")
one = lambda sql: lake.execute(sql).fetchall()

rows = one("SELECT count(*), count(DISTINCT n) FROM lake.counted")[0]
snapshots = [row[0] for row in one("SELECT snapshot_id FROM __ducklake_metadata_lake.main.ducklake_snapshot ORDER BY 1")]
past = [one(f"SELECT count(*) FROM lake.counted AT (VERSION => {version})")[0][0] for version in snapshots[-3:]]
merged = one("CALL ducklake_merge_adjacent_files('lake')")
after = one("SELECT count(*), count(DISTINCT n) FROM lake.counted")[0]
days = [row[0] for row in one("SELECT DISTINCT CAST(_day AS TEXT) FROM lake.counted WHERE _day IS NOT NULL")]
print(json.dumps({"duckdb": duckdb.__version__, "rows": rows, "past": past, "merged": len(merged), "after": after, "days": len(days)}))
