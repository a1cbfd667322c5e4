"""Reads a lake with a SQLite catalog again and again while its gateway writes: lake_reading.py LIBRARIES DATA ROWS

A stock DuckDB with two extensions. Prints the count of each look, until there are ROWS.
"""

import sys

import duckdb

libraries, data, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
count = 0
while count < rows:
    lake = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    for extension in ("sqlite_scanner", "ducklake"):
        lake.execute(f"LOAD '{libraries}/{extension}.duckdb_extension'")
    lake.execute(
        f"ATTACH 'ducklake:sqlite:{data}/lake/catalog.ducklake.sqlite' AS lake "
        f"(READ_ONLY, DATA_PATH '{data}/lake/files/', OVERRIDE_DATA_PATH true)"
    )
    for _ in range(5):
        count, different = lake.execute("SELECT count(*), count(DISTINCT n) FROM lake.counted").fetchone()
        assert count == different, f"{count} rows, {different} different ones"
        print(count, flush=True)
    lake.close()
