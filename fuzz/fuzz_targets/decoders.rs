//! All decoders in one program, since linking one for each takes longer than running them: `DEPSYNC_FUZZ` names the one.
#![no_main]

#[path = "../decoders.rs"]
mod decoders;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static DECODER: OnceLock<decoders::Decoder> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let decoder = DECODER.get_or_init(|| {
        let name = std::env::var("DEPSYNC_FUZZ").expect("DEPSYNC_FUZZ names a decoder");
        decoders::find(&name).expect("DEPSYNC_FUZZ names one of fuzz/corpus")
    });
    decoder(bytes);
});
