//! The shim: a small module, made here, that stands between a guest and the hostcalls that return bytes.
//!
//! Such a hostcall must allocate in the guest by calling the guest's own allocator. Done from a host function,
//! that is a call back into the VM: on a fiber it takes a second stack. The shim does it in wasm instead. Each of
//! its functions calls the host, which keeps the bytes and says how many there are; the shim then calls the
//! guest's allocator, which is a plain wasm call, and hands the address to the host (`take`), which copies.
//! So no host function ever enters the guest, and all but one of them are plain synchronous functions.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    Instruction, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

/// Import module of the shim's host functions.
pub(crate) const HOST: &str = "agw";

/// The host function that copies the kept bytes to an address.
pub(crate) const TAKE: &str = "take";

/// The exported table; its one element is the guest's allocator.
pub(crate) const ALLOCATOR: &str = "allocator";

/// A hostcall that returns bytes, and the number of its `i32` parameters.
pub(crate) const FUNCTIONS: [(&str, usize); 8] = [
    ("proxy_get_buffer_bytes", 5),
    ("proxy_get_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_get_shared_data", 5),
    ("proxy_get_property", 4),
    ("proxy_get_status", 3),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_call_foreign_function", 6),
];

/// Index of each type in the type section; `ARITIES` types follow, two for each number of parameters.
const TYPE_ALLOCATE: u32 = 0;
const TYPE_FINISH: u32 = 1;
const TYPE_ARITIES: u32 = 2;

/// `take` is the first import, then one per function; `finish` is the first of our own.
const FUNC_TAKE: u32 = 0;
const FUNC_FINISH: u32 = 1 + FUNCTIONS.len() as u32;

/// The shim's bytes.
pub(crate) fn module() -> Vec<u8> {
    let mut module = Module::new();
    module.section(&types());
    module.section(&imports());
    let mut functions = FunctionSection::new();
    functions.function(TYPE_FINISH);
    for (_, arity) in FUNCTIONS {
        functions.function(exported_type(arity));
    }
    module.section(&functions);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        minimum: 1,
        maximum: Some(1),
        table64: false,
        shared: false,
    });
    module.section(&tables);
    module.section(&exports());
    module.section(&code());
    module.finish()
}

/// Type of the host's function with this many parameters: it returns status and size.
fn host_type(arity: usize) -> u32 {
    TYPE_ARITIES + 2 * arity as u32
}

/// Type of the function that the guest imports: it returns the status.
fn exported_type(arity: usize) -> u32 {
    host_type(arity) + 1
}

fn types() -> TypeSection {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([ValType::I32, ValType::I32], [ValType::I32]);
    for arity in 0..=6 {
        types.ty().function(vec![ValType::I32; arity], [ValType::I32, ValType::I32]);
        types.ty().function(vec![ValType::I32; arity], [ValType::I32]);
    }
    types
}

fn imports() -> ImportSection {
    let mut imports = ImportSection::new();
    imports.import(HOST, TAKE, EntityType::Function(TYPE_ALLOCATE));
    for (name, arity) in FUNCTIONS {
        imports.import(HOST, name, EntityType::Function(host_type(arity)));
    }
    imports
}

fn exports() -> ExportSection {
    let mut exports = ExportSection::new();
    exports.export(ALLOCATOR, ExportKind::Table, 0);
    for (index, (name, _)) in FUNCTIONS.iter().enumerate() {
        exports.export(name, ExportKind::Func, FUNC_FINISH + 1 + index as u32);
    }
    exports
}

fn code() -> CodeSection {
    let mut code = CodeSection::new();
    code.function(&finish());
    for (index, (_, arity)) in FUNCTIONS.iter().enumerate() {
        let mut function = Function::new([]);
        for parameter in 0..*arity as u32 {
            function.instruction(&Instruction::LocalGet(parameter));
        }
        function.instruction(&Instruction::Call(FUNC_TAKE + 1 + index as u32));
        function.instruction(&Instruction::Call(FUNC_FINISH));
        function.instruction(&Instruction::End);
        code.function(&function);
    }
    code
}

/// `finish(status, size)`: nothing to copy, or `take(allocate(size))`.
fn finish() -> Function {
    let mut function = Function::new([]);
    let (status, size) = (0, 1);
    function
        .instruction(&Instruction::LocalGet(size))
        .instruction(&Instruction::I32Eqz)
        .instruction(&Instruction::If(BlockType::Result(ValType::I32)))
        .instruction(&Instruction::LocalGet(status))
        .instruction(&Instruction::Else)
        .instruction(&Instruction::LocalGet(size))
        .instruction(&Instruction::I32Const(0))
        .instruction(&Instruction::CallIndirect { type_index: TYPE_ALLOCATE, table_index: 0 })
        .instruction(&Instruction::Call(FUNC_TAKE))
        .instruction(&Instruction::End)
        .instruction(&Instruction::End);
    function
}
