fn main() -> std::process::ExitCode {
    rembus_gateway::cli::main(|config| Ok(rembus_gateway::gateway::run(&config)?))
}
