//! What stands between a component's exports and a [`Plugin`]. For [`export!`](crate::export) alone.

use std::{cell::RefCell, panic::PanicHookInfo};

pub use crate::__export_plugin_impl as export_component;
pub use crate::bindings;
pub use crate::bindings::exports::tollgate::plugin::handler::{Guest, Setup};
use crate::host::Severity;
use crate::{Batch, Error, Plugin, Registration, Result, Verdict, config, host};

/// Makes the plugin of its configuration.
pub fn configure<P: Plugin>(slot: &RefCell<Option<P>>, setup: Setup) -> Result<Registration> {
    // A panic ends in a trap whose message says nothing. The last errors of the log are told with it: where
    // and what, in one line.
    let told = |panic: &PanicHookInfo<'_>| panic.to_string().replacen(":\n", ": ", 1);
    std::panic::set_hook(Box::new(move |panic| host::log(Severity::Error, &told(panic))));

    let plugin = configured::<P>(setup)?;
    let registration = plugin.registration();
    *slot.borrow_mut() = Some(plugin);
    Ok(registration)
}

/// Has the plugin handle the batch.
pub fn process<P: Plugin>(slot: &RefCell<Option<P>>) -> Result<Verdict> {
    match slot.borrow_mut().as_mut() {
        Some(plugin) => plugin.process(&mut Batch::current()),
        None => Err(Error::failed("`process` was called before `configure`")),
    }
}

pub(crate) fn configured<P: Plugin>(setup: Setup) -> Result<P> {
    let config = config::read(&setup.config)?;
    P::configure(config, &crate::Setup { tenant: setup.tenant, plugin: setup.plugin })
}

/// Has the compiler look at the plugin where there is no component to make.
pub const fn check<P: Plugin>() {}
