//! From exec to the first answer: how long a restart is felt.

use super::show;
use crate::{
    lab::Lab,
    machine,
    measure::Spread,
    peer::{self, NAMES},
    sink::Sink,
    table::Table,
};
use anyhow::Result;
use clap::Args;
use std::time::Duration;

/// How often, and with how many tenants.
#[derive(Args, Clone)]
pub struct Options {
    /// How often each is started
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Tenants with a bearer token each; a peer other than Tollgate is started with its one user
    #[arg(long, value_delimiter = ',', default_value = "1,1000")]
    tenants: Vec<usize>,
    /// Tenants with a plugin each, of which every one is a component of its own; all are in the cache
    #[arg(long, default_value_t = 50)]
    plugins: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { times: 20, tenants: vec![1, 1000], plugins: 50 }
    }
}

/// Starts each peer again and again. The first answer is to a whole request, forwarded and accepted.
pub fn run(lab: &mut Lab, options: &Options) -> Result<()> {
    let peers = lab.peers(&NAMES)?;
    let sink = Sink::start(&lab.folder)?;
    let mut rows = Vec::new();
    for peer in &peers {
        // Tenants, and how many of them have a plugin.
        let mut setups = vec![(0, 0)];
        if peer.name() == NAMES[0] {
            setups = options.tenants.iter().map(|&tenants| (tenants, 0)).collect();
            setups.push((options.plugins, options.plugins));
        }
        rows.extend(setups.into_iter().map(|setup| (peer.as_ref(), setup, Vec::new())));
    }

    for turn in 1..=options.times {
        eprintln!("start {turn} of {}", options.times);
        for (peer, (tenants, plugins), times_s) in &mut rows {
            machine::check_interrupt()?;
            let running = peer::start(*peer, lab, &sink, |setup| {
                setup.tokens = *tenants;
                setup.plugins = *plugins;
            })?;
            times_s.push(running.start_time.as_secs_f64());
        }
    }

    println!("\nFrom exec to the first answer");
    let mut table = Table::new(["peer", "tenants", "plugins", "median", "min", "max"]);
    for (peer, (tenants, plugins), times_s) in rows {
        let Some(Spread { median, min, max }) = Spread::of(times_s) else { continue };
        let [median, min, max] = [median, min, max].map(|s| show(Duration::from_secs_f64(s)));
        let [tenants, plugins] = [tenants.max(1), plugins].map(|count| count.to_string());
        table.row([peer.name().to_owned(), tenants, plugins, median, min, max]);
    }
    print!("{table}");
    Ok(())
}
