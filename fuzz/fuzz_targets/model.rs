//! Any bytes as a model file: read, checked, written, rid of its ZipMap, and quantised in any way. Nothing panics, hangs or
//! asks for memory without bounds, and what comes out is valid wherever what went in was.
//!
//! The last four bytes choose how, so that a model file with four bytes more is a good seed.

#![no_main]

use std::io::Cursor;

use bytes::Bytes;
use edge_service_fuzz::engine::cpu::Cpu;
use edge_service_fuzz::graphs;
use edge_service_fuzz::onnx::check::check;
use edge_service_fuzz::onnx::proto::ModelProto;
use edge_service_fuzz::onnx::{file, zipmap};
use edge_service_fuzz::quantize::{self, Integer, Method, Range, Ranges, Settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((body, how)) = data.split_last_chunk::<4>() else { return };
    let found = zipmap::found_in(Cursor::new(body)).expect("a slice can be read");
    let model = if how[0] & 1 == 0 {
        let Ok(model) = file::decode(Bytes::copy_from_slice(body)) else { return };
        let has = |model: &ModelProto| {
            let mut nodes = model.graph.iter().flat_map(|graph| &graph.node);
            nodes.any(|node| node.op_type.as_deref() == Some("ZipMap"))
        };
        // A graph that comes in two pieces is merged by the reader; each piece is looked through all the same.
        assert!(found || !has(&model), "a ZipMap is not found");
        model
    } else {
        graphs::grow(body)
    };
    round_trip(&model);
    let valid = check(&model).is_ok();
    let mut mapped = model.clone();
    if !zipmap::take_out(&mut mapped).is_empty() && valid {
        assert_eq!(check(&mapped).err(), None, "without its ZipMap it is not valid");
    }
    quantise(model, how);
});

fn round_trip(model: &ModelProto) {
    let bytes = file::encode(model);
    let again = file::decode(Bytes::from(bytes.clone())).expect("what was written is read");
    assert!(file::encode(&again) == bytes, "what was read is written otherwise");
}

fn quantise(model: ModelProto, how: &[u8; 4]) {
    let valid = check(&model).is_ok();
    let Ok(prepared) = quantize::prepare(model) else { return };
    assert!(valid, "a model that is not valid was prepared");
    assert_eq!(check(&prepared).err(), None, "what was prepared is not valid");
    let chosen = quantize::choose(&prepared, &Cpu { architecture: "x86_64", features: Vec::new() }).settings;
    let bit = |place: u8| how[1] >> place & 1 == 1;
    let settings = if bit(0) {
        chosen
    } else {
        Settings {
            method: if bit(1) { Method::Static } else { Method::Dynamic },
            activations: if bit(2) { Integer::U8 } else { Integer::S8 },
            weights: if bit(3) { Integer::U8 } else { Integer::S8 },
            per_channel: bit(4),
            reduce_range: bit(5),
            refine: bit(6),
            ..chosen
        }
    };
    let mut ranges = Ranges::new();
    for (place, tensor) in quantize::observed(&prepared, &settings).into_iter().enumerate() {
        // Some are not known, some hold one value only, some are as wide as floats go.
        let span = match (usize::from(how[2]) + place) % 7 {
            0 => continue,
            1 => 0.0,
            2 => f32::MAX,
            3 => 1e-40,
            _ => 1.0 + f32::from(how[3]),
        };
        let low = if how[3] & 1 == 0 { -span } else { 0.0 };
        ranges.insert(tensor, Range { low, high: span });
    }
    if let Ok(rewritten) = quantize::rewrite(&prepared, &ranges, &settings) {
        assert_eq!(check(&rewritten.model).err(), None, "what was rewritten is not valid");
        round_trip(&rewritten.model);
    }
}
