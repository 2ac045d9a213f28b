//! Arguments → `Config` → logging → run → exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use network_agent::config::{Config, ConfigError, LogConfig, LogFormat, Terminal};
use network_agent::telemetry::allocations::CountingAllocator;
use network_agent::{agent, telemetry};

/// Counts what it is asked for once the configuration says so.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A configuration that cannot be used (`EX_USAGE` of sysexits.h).
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let terminal = if std::io::stdout().is_terminal() { Terminal::Yes } else { Terminal::No };
    // What is no text is not passed over in silence: its setting will refuse it, or show it as it was understood.
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let config = match Config::load(std::env::args_os(), environment, terminal) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    telemetry::logging::install(config.log);
    match agent::run(config) {
        Ok(ending) => ExitCode::from(ending.code()),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says why there is no configuration; help and version are printed as such.
fn refuse(error: &ConfigError) -> ExitCode {
    match error {
        ConfigError::Arguments(error) => {
            // Nobody can be told when this fails.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::SUCCESS }
        }
        ConfigError::Faults(faults) => {
            telemetry::logging::install(LogConfig { level: tracing::Level::INFO, format: LogFormat::Text });
            let _ = writeln!(std::io::stderr().lock(), "network-agent: {faults}");
            ExitCode::from(BAD_CONFIGURATION)
        }
    }
}
