//! What a component says of itself, read without compiling or running anything of it.

use super::wasi;
use crate::plugin::{CONTRACT_VERSION, LoadProblem};
use wasmtime::wasmparser::{ComponentExternalKind, Parser, Payload};

/// A component's outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of the contract that it was built for; none, where it is no plugin.
    pub contract: Option<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
}

/// Reads a component's outside.
///
/// # Errors
/// Where it is no component, or broken.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, LoadProblem> {
    if !Parser::is_component(bytes) {
        return Err(not_a_component(bytes));
    }
    let broken = |error: wasmtime::wasmparser::BinaryReaderError| LoadProblem::Compile(error.to_string());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize; // modules and components within are nobody's business
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(broken)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let contract = exports.iter().chain(&imports).find_map(|name| {
        let (name, version) = name.split_once('@').unwrap_or((name, ""));
        name.starts_with(CONTRACT_PACKAGE).then(|| version.to_owned())
    });
    Ok(Inspection { contract, imports, exports })
}

const CONTRACT_PACKAGE: &str = "tollgate:plugin/";
const HANDLER: &str = "tollgate:plugin/handler";

/// Whether this host can take it.
pub(super) fn check(bytes: &[u8]) -> Result<(), LoadProblem> {
    let Inspection { contract, imports, exports } = inspect(bytes)?;
    match contract {
        None => return Err(LoadProblem::NoContract),
        Some(found) if found != CONTRACT_VERSION => return Err(LoadProblem::Contract { found }),
        Some(_) => {}
    }
    let is_handler = |name: &String| name.split('@').next() == Some(HANDLER);
    if !exports.iter().any(is_handler) {
        return Err(LoadProblem::NoContract);
    }
    for name in imports {
        let (interface, version) = name.split_once('@').unwrap_or((&name, ""));
        if let Some(interface) = interface.strip_prefix(CONTRACT_PACKAGE) {
            if version != CONTRACT_VERSION {
                return Err(LoadProblem::Contract { found: version.to_owned() });
            }
            if !["types", "host", "batch"].contains(&interface) {
                let hint = "of `tollgate:plugin` there are `host`, `batch` and `types`";
                return Err(LoadProblem::Import { name, hint });
            }
        } else if wasi::unversioned(&name).is_none() {
            let hint = "they may import `tollgate:plugin/host`, `tollgate:plugin/batch` and WASI, \
                        which is empty";
            return Err(LoadProblem::Import { name, hint });
        }
    }
    Ok(())
}

fn not_a_component(bytes: &[u8]) -> LoadProblem {
    let (found, hint) = if Parser::is_core_wasm(bytes) {
        (
            "a core WebAssembly module",
            "build it for wasm32-wasip2, or wrap it with `wasm-tools component new`",
        )
    } else if bytes.trim_ascii_start().starts_with(b"(") {
        ("WebAssembly as text", "turn it into a binary with `wasm-tools parse`")
    } else if bytes.is_empty() {
        ("empty", "name the file that the build made")
    } else {
        ("something else", "name the .wasm file that the build made")
    };
    LoadProblem::NotAComponent { found, hint }
}
