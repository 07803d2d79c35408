//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// An API gateway whose plugins can use Redis and SQL.
#[derive(Debug, Parser)]
#[command(name = "agw", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what a configuration document describes, until SIGTERM.
    Run(RunArgs),
    /// Report every problem of a configuration document, and start nothing.
    Check(CheckArgs),
    /// Look after the external resources of a configuration document.
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Say what a field of the configuration means, what it may hold and what holds without it.
    Explain(ExplainArgs),
    /// Print the JSON Schema of configuration documents.
    Schema,
    /// Serve a rate limit and API keys to try out: no files, no servers needed.
    Quickstart(QuickstartArgs),
    /// Serve requests through an existing proxy-wasm filter, such as one built for Envoy.
    Try(TryArgs),
}

/// `agw run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration document.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// A Unix socket over which the next process takes over this one's ports; if one listens there, it is taken over.
    #[arg(long, value_name = "PATH")]
    pub(crate) hand_over: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// `agw check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration document.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// `agw resource`.
#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// Connect to one as the gateway does, and report latency, TLS, version, and rights beyond the grants.
    Test(ResourceTestArgs),
}

/// `agw resource test`.
#[derive(Debug, Args)]
pub(crate) struct ResourceTestArgs {
    /// The resource's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The configuration document.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `agw explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The field, such as resources.pool.max; the path in a problem is one as well [default: the whole document]
    #[arg(value_name = "FIELD", default_value = "", hide_default_value = true)]
    pub(crate) field: String,
}

/// What every command that serves takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Worker threads, 1 to 256 [default: one per core]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<NonZeroUsize>,
    /// Address of health, metrics and inspection. It has no access control: keep it on loopback.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9901")]
    pub(crate) admin: SocketAddr,
    /// One JSON line per request on standard output.
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = Switch::On)]
    pub(crate) access_log: Switch,
}

/// `agw quickstart`.
#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Address that takes requests.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// A Redis server to count in, as redis://host:port/database [default: a store inside this process]
    // A string on purpose: what cannot be read as a URL may hold a password, and clap would show it.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// A file with the password for --redis.
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub(crate) redis_password_file: Option<PathBuf>,
    /// A database with the table api_keys, as postgres://user@host:port/database [default: one inside this process,
    /// with the keys demo-free and demo-pro]
    // A string on purpose, as --redis.
    #[arg(long, value_name = "URL")]
    pub(crate) sql: Option<String>,
    /// A file with the password for --sql.
    #[arg(long, value_name = "FILE", requires = "sql")]
    pub(crate) sql_password_file: Option<PathBuf>,
    /// Where requests go, as http://host:port [default: an echo inside this process]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Requests that pass in one window, for each key.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<u64>::new().range(1..=LIMIT_MAX))]
    pub(crate) limit: u64,
    /// Length of a window.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = RangedU64ValueParser::<u64>::new().range(1..=WINDOW_MAX))]
    pub(crate) window: u64,
    /// Goes before every key in the store.
    #[arg(long, value_name = "P", default_value = "quickstart:")]
    pub(crate) key_prefix: String,
    /// Print the configuration that this would run, ready for `agw run --config FILE`, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// `agw try`.
#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// The filter: a wasm file.
    #[arg(value_name = "MODULE")]
    pub(crate) module: PathBuf,
    /// What the filter is configured with, as it stands.
    #[arg(long, value_name = "STRING", conflicts_with = "plugin_config_file", allow_hyphen_values = true)]
    pub(crate) plugin_config: Option<String>,
    /// A file with what the filter is configured with.
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin_config_file: Option<PathBuf>,
    /// What the filter reads as its root id.
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) root_id: String,
    /// How often the filter stands in the chain, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u64>::new().range(1..=FILTERS_MAX))]
    pub(crate) count: u64,
    /// Address that takes requests.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Where requests go, as http://host:port [default: an echo inside this process]
    // A string on purpose, as --redis.
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// A Redis server that the filter may use without restriction as the resource `redis`: redis://host:port/database
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// A file with the password for --redis.
    #[arg(long, value_name = "FILE", requires = "redis")]
    pub(crate) redis_password_file: Option<PathBuf>,
    /// A SQL database that the filter may use without restriction as the resource `sql`:
    /// postgres://user@host:port/database, sqlite://PATH
    #[arg(long, value_name = "URL")]
    pub(crate) sql: Option<String>,
    /// A file with the password for --sql.
    #[arg(long, value_name = "FILE", requires = "sql")]
    pub(crate) sql_password_file: Option<PathBuf>,
    /// Print the configuration that this would run, ready for `agw run --config FILE`, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Of one request: a longer chain tells nothing new.
const FILTERS_MAX: u64 = 64;

/// The bounds of the rate-limit plugin.
const LIMIT_MAX: u64 = 999_999_999_999_999;
const WINDOW_MAX: u64 = 366 * 86_400;

/// Far more than any machine needs; each worker has a thread, a listener socket and VMs of its own.
const WORKERS_MAX: usize = 256;

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    /// Whether it is on.
    pub(crate) fn is_on(self) -> bool {
        self == Switch::On
    }
}

impl ServeArgs {
    /// How many workers to start.
    pub(crate) fn workers(&self) -> NonZeroUsize {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.workers.unwrap_or_else(cores)
    }
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse::<NonZeroUsize>().ok().filter(|number| number.get() <= WORKERS_MAX);
    number.ok_or_else(|| format!("write a number from 1 to {WORKERS_MAX}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "agw",
            "agw run",
            "agw check",
            "agw explain a b",
            "agw resource",
            "agw resource test",
            "agw resource test limits",
            "agw schema x",
            "agw serve",
            "agw run --config x --workers 0",
            "agw run --config x --workers 257",
            "agw run --config x --workers many",
            "agw run --config x --admin localhost:9901",
            "agw run --config x --access-log maybe",
            "agw quickstart --limit 0",
            "agw quickstart --limit -1",
            "agw quickstart --window 0",
            "agw quickstart --window 31622401",
            "agw quickstart --redis-password-file x",
            "agw quickstart --sql-password-file x",
            "agw quickstart --config x",
            "agw try",
            "agw try x --count 0",
            "agw try x --count 65",
            "agw try x --plugin-config a --plugin-config-file b",
            "agw try x --redis-password-file y",
            "agw try x --sql-password-file y",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_defaults_hold() {
        let Ok(Command::Quickstart(args)) = parse("agw quickstart") else { panic!("quickstart") };
        assert_eq!((args.listen.to_string(), args.limit, args.window), ("127.0.0.1:8080".to_owned(), 5, 10));
        assert_eq!(args.serve.admin.to_string(), "127.0.0.1:9901");
        assert!(args.serve.access_log.is_on() && !args.print_config);
        assert!(args.serve.workers().get() >= 1);
    }

    #[test]
    fn every_command_that_serves_takes_the_same_options() {
        for command in ["agw run --config x", "agw quickstart", "agw try x"] {
            let line = format!("{command} --workers 3 --admin [::1]:1 --access-log off");
            let serve = match parse(&line) {
                Ok(Command::Run(args)) => args.serve,
                Ok(Command::Quickstart(args)) => args.serve,
                Ok(Command::Try(args)) => args.serve,
                other => panic!("{other:?}"),
            };
            assert_eq!((serve.workers().get(), serve.admin.to_string()), (3, "[::1]:1".to_owned()));
            assert!(!serve.access_log.is_on());
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
