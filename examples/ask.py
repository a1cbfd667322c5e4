"""Asks the gateway for history; the answer is a polars DataFrame."""

import rembus as rb

with rb.node("ws://127.0.0.1:8338/analyst") as analyst:
    print(analyst.rpc("query_telemetry", {"where": "dn = 'dev1'"}))
