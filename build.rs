//! Tells the linker where the binary finds `libduckdb.so` when it runs.
//!
//! An installed gateway looks in `../lib/rembus-gateway` beside itself. A developer's build looks in the folder it was linked
//! from as well, so that `cargo run` and `cargo test` need no environment; packagers set `REMBUS_GATEWAY_DIST=1` to leave that
//! machine's path out of the binary.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-env-changed=REMBUS_GATEWAY_DIST");
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/rembus-gateway");
    let dist = std::env::var_os("REMBUS_GATEWAY_DIST").is_some();
    if let (false, Ok(dir)) = (dist, std::env::var("DUCKDB_LIB_DIR")) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
        println!("cargo:rustc-env=REMBUS_GATEWAY_DEV_LIB_DIR={dir}");
    }
}
