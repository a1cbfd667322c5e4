//! The gateway as its users meet it: the real binary, real sockets, real clients.
//!
//! One binary for all stories, because linking DuckDB takes longer than most of them run. Every story starts gateways of its own
//! on free ports of the loopback address with a folder of its own, waits for conditions with a deadline and never for time to pass.
//!
//! | Helper | Gives a story |
//! |---|---|
//! | [`gateway`] | a running gateway, its log, `kill -9`, SIGTERM, the next life on the same data |
//! | [`programs`] | the scenario programs of `tests/clients/`: published Python clients and mosquitto's |
//! | [`pki`], [`tls_peer`] | certificates made on the spot, and clients that use them |
//! | [`far_end`] | other brokers that links lead to, and a cable that can be pulled |
//! | [`mqtt_peer`], [`rembus_peer`], [`http_peer`] | small peers under full control, for what no orderly client would do |

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test, and says where")]
#![allow(clippy::print_stderr, reason = "a failed test shows the gateway's log")]

mod far_end;
mod gateway;
mod http_peer;
mod mqtt_peer;
mod pki;
mod programs;
mod rembus_peer;
mod tls_peer;
mod torn;

mod access;
mod at_rest;
mod bus;
mod bus_crate;
mod commands;
mod commlib;
mod config;
mod control;
mod durability;
mod elsewhere;
mod first_light;
mod forwards;
mod full_disk;
mod hostile;
mod http;
mod http_api;
mod known_errors;
mod lake;
mod mapping;
mod matrix;
mod mqtt_clients;
mod mqtt_rules;
mod names;
mod outside;
mod parent;
mod ports;
mod power;
mod rembus_clients;
mod rembus_login;
mod rembus_rules;
mod remote;
mod remote_rumqttd;
mod replay;
mod sim;
mod stop;
mod tidy;
mod tls_storm;
mod transcripts;
mod transcripts_json;
mod transports;
mod users;
mod wear;
