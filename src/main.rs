fn main() -> std::process::ExitCode {
    rembus_gateway::cli::main(|loaded| Ok(rembus_gateway::gateway::run(loaded)?))
}
