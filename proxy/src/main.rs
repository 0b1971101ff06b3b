use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Both providers are compiled in (a dependency of the engine links the other), so rustls must be told. It fails
    // only if one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    torhaus::cli::main()
}
