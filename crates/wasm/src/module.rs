//! A compiled module: checked against the ABI, linked to the host's functions, ready to be instantiated.

use std::path::Path;

use wasmtime::{Engine, Extern, ExternType, Instance, InstancePre, Linker, Module, Ref, Store, ValType};

use crate::cache;
use crate::error::LoadError;
use crate::facts::check_bytes;
use crate::filter::Wants;
use crate::hostcalls::{self, ENV};
use crate::plugin::ModuleDigest;
use crate::shim;
use crate::vm_data::VmData;

/// What is compiled once for all modules: host functions in both forms, and the shim.
pub(crate) struct Linkers {
    /// A blocking foreign call suspends the guest.
    suspending: Linker<VmData>,
    suspending_shim: InstancePre<VmData>,
    /// A blocking foreign call is refused; the VM runs without fibers.
    plain: Linker<VmData>,
    plain_shim: InstancePre<VmData>,
}

/// A module that speaks the ABI.
pub(crate) struct CompiledModule {
    /// Of the bytes that it was compiled from.
    pub(crate) digest: ModuleDigest,
    module: Module,
    /// The module's imports in order.
    imports: Vec<Import>,
    pub(crate) has_foreign_callback: bool,
    pub(crate) wants: Wants,
    /// The export that allocates.
    allocator: &'static str,
}

/// Where an import comes from.
enum Import {
    /// The shim's export of this name.
    Shim(&'static str),
    /// The host's function of this module and name.
    Host(String, String),
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> Result<Self, LoadError> {
        let shim = Module::new(engine, shim::module()).map_err(LoadError::Shim)?;
        let suspending = hostcalls::linker(engine, true).map_err(LoadError::Shim)?;
        let plain = hostcalls::linker(engine, false).map_err(LoadError::Shim)?;
        Ok(Linkers {
            suspending_shim: suspending.instantiate_pre(&shim).map_err(LoadError::Shim)?,
            suspending,
            plain_shim: plain.instantiate_pre(&shim).map_err(LoadError::Shim)?,
            plain,
        })
    }

    fn form(&self, suspending: bool) -> (&Linker<VmData>, &InstancePre<VmData>) {
        if suspending { (&self.suspending, &self.suspending_shim) } else { (&self.plain, &self.plain_shim) }
    }
}

// === impl CompiledModule ===

impl CompiledModule {
    /// Compiles, or takes the compiled code from the cache. Takes from milliseconds to seconds: never on a worker.
    pub(crate) fn load(
        engine: &Engine,
        bytes: &[u8],
        digest: ModuleDigest,
        cache_dir: Option<&Path>,
    ) -> Result<Self, LoadError> {
        check_bytes(bytes)?;
        let module = cache::compile(engine, bytes, cache_dir)?;
        check_abi(&module)?;
        let allocator = check_exports(&module)?;
        let imports = module.imports().map(|import| Import::of(import.module(), import.name())).collect();
        let exports = |name: &str| matches!(module.get_export(name), Some(ExternType::Func(_)));
        let has_foreign_callback = exports("proxy_on_foreign_function");
        let wants = Wants::of(exports);
        Ok(CompiledModule { digest, module, imports, has_foreign_callback, wants, allocator })
    }

    /// Refuses a module that could never run within its plugin's limits.
    pub(crate) fn check_limits(
        &self,
        memory_bytes_max: usize,
        table_elements_max: usize,
    ) -> Result<(), LoadError> {
        let needs = self.module.resources_required();
        let memory = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 * 1024);
        if memory > memory_bytes_max as u64 {
            let what = format!("{memory} bytes of memory to start");
            return Err(LoadError::OverLimit { what, limit: memory_bytes_max });
        }
        let elements = needs.max_initial_table_size.unwrap_or(0);
        if elements > table_elements_max as u64 {
            let what = format!("{elements} table elements to start");
            return Err(LoadError::OverLimit { what, limit: table_elements_max });
        }
        Ok(())
    }

    /// Instantiates shim and guest and joins them. The guest's start section runs.
    ///
    /// # Errors
    /// [`LoadError::UnknownImports`] names every import that the host does not have.
    pub(crate) async fn instantiate(
        &self,
        linkers: &Linkers,
        suspending: bool,
        store: &mut Store<VmData>,
    ) -> Result<Instance, LoadError> {
        let (linker, shim) = linkers.form(suspending);
        let shim = match suspending {
            true => shim.instantiate_async(&mut *store).await,
            false => shim.instantiate(&mut *store),
        };
        let shim = shim.map_err(LoadError::Shim)?;
        let imports = self.resolve(linker, &shim, store)?;
        let instance = match suspending {
            true => Instance::new_async(&mut *store, &self.module, &imports).await,
            false => Instance::new(&mut *store, &self.module, &imports),
        };
        let instance = instance.map_err(LoadError::Instantiate)?;
        let allocate = instance
            .get_func(&mut *store, self.allocator)
            .ok_or(LoadError::MissingExport { what: ALLOCATOR })?;
        let table = shim
            .get_table(&mut *store, shim::ALLOCATOR)
            .ok_or(LoadError::MissingExport { what: "the shim" })?;
        table.set(&mut *store, 0, Ref::Func(Some(allocate))).map_err(LoadError::Shim)?;
        Ok(instance)
    }

    fn resolve(
        &self,
        linker: &Linker<VmData>,
        shim: &Instance,
        store: &mut Store<VmData>,
    ) -> Result<Vec<Extern>, LoadError> {
        let mut found = Vec::with_capacity(self.imports.len());
        let mut missing = Vec::new();
        for import in &self.imports {
            let item = match import {
                Import::Shim(name) => shim.get_export(&mut *store, name),
                Import::Host(module, name) => linker.get(&mut *store, module, name).ok(),
            };
            match (item, import) {
                (Some(item), _) => found.push(item),
                (None, Import::Shim(name)) => missing.push(format!("{ENV}.{name}")),
                (None, Import::Host(module, name)) => missing.push(format!("{module}.{name}")),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(LoadError::UnknownImports { names: missing }) }
    }
}

const ALLOCATOR: &str = "an allocator: malloc or proxy_on_memory_allocate, (i32) -> i32";

impl Import {
    fn of(module: &str, name: &str) -> Import {
        let shimmed = shim::FUNCTIONS.iter().find(|(shimmed, _)| module == ENV && *shimmed == name);
        match shimmed {
            Some((name, _)) => Import::Shim(name),
            // The shim's own host functions are not for guests: named so that they are not found.
            None if module == shim::HOST => Import::Host(format!("{module} (reserved)"), name.to_owned()),
            None => Import::Host(module.to_owned(), name.to_owned()),
        }
    }
}

/// The marker is an export that says which version the module was built for. It is never called.
pub(crate) const MARKER: &str = "proxy_abi_version_";

fn check_abi(module: &Module) -> Result<(), LoadError> {
    let mut found = None;
    for export in module.exports() {
        match export.name().strip_prefix(MARKER) {
            Some("0_2_0" | "0_2_1") => return Ok(()),
            Some(other) => found = Some(other.replace('_', ".")),
            None => {}
        }
    }
    Err(found.map_or(LoadError::NoAbiMarker, |found| LoadError::UnsupportedAbi { found }))
}

/// The name of the allocator, if all that must be there is.
fn check_exports(module: &Module) -> Result<&'static str, LoadError> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        return Err(LoadError::MissingExport { what: "its memory as `memory`" });
    }
    let allocates = |name: &&'static str| match module.get_export(name) {
        Some(ExternType::Func(ty)) => {
            let is_i32 = |ty: ValType| matches!(ty, ValType::I32);
            ty.params().len() == 1
                && ty.results().len() == 1
                && ty.params().all(is_i32)
                && ty.results().all(is_i32)
        }
        _ => false,
    };
    ["malloc", "proxy_on_memory_allocate"]
        .into_iter()
        .find(allocates)
        .ok_or(LoadError::MissingExport { what: ALLOCATOR })
}
