//! What to do about the runtime's own words for a file that it does not load. Pure.

/// One line that says what to do, and the runtime's words where they tell more.
pub(super) fn explain(reason: &str) -> String {
    let reason = without_noise(reason);
    let lower = reason.to_lowercase();
    let mentions = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    if mentions(&["locale"]) {
        let named = between(reason, "with name:", ':').unwrap_or("en_US.UTF-8");
        format!("its strings need the locale {named}, which this system lacks: install it")
    } else if mentions(&["protobuf parsing failed", "no graph was found", "does not have a graph"]) {
        "it is not an ONNX model, or cut short: fetch it again".to_owned()
    } else if mentions(&["not a registered function/op", "could not find an implementation"]) {
        format!(
            "it uses an operator that this ONNX Runtime does not have: export it with standard operators ({reason})"
        )
    } else if let Some(at) = reason.find("Current official support for domain") {
        let known = &reason[at..];
        format!("its opset is newer than this ONNX Runtime: export it with an older one, or take a newer one ({known})")
    } else if mentions(&["external data path does not exist"]) {
        let lost = reason.rsplit("does not exist:").next().unwrap_or_default().trim().trim_matches('"');
        format!("its weights are in a file of their own that is not there: put it beside the model ({lost})")
    } else {
        reason.to_owned()
    }
}

/// Without the path, which is told anyway, and without a source file's name and the signature of a function in it.
fn without_noise(reason: &str) -> &str {
    let reason = match reason.strip_prefix("Load model from ").and_then(|rest| rest.split_once(" failed:")) {
        Some((_, rest)) => rest.trim(),
        None => reason,
    };
    // A signature ends with its closing parenthesis; a message that begins with a source file has one.
    match reason.strip_prefix("/onnxruntime_src/").and_then(|rest| rest.split_once(") ")) {
        Some((_, rest)) => rest.trim(),
        None => reason,
    }
}

/// The runtime's words without the place in its source that they come from: `FILE:LINE`, and the function's signature, or
/// its bare name.
pub(super) fn without_source(text: &str) -> String {
    let is_place = |word: &str| {
        let Some((file, line)) = word.rsplit_once(':') else { return false };
        let ending = file.rsplit('.').next().unwrap_or_default();
        ["cc", "h", "cpp", "hpp", "cu", "inl"].contains(&ending) && line.parse::<u32>().is_ok()
    };
    let mut at = 0;
    for word in text.split(' ') {
        if is_place(word) {
            let rest = text.get(at + word.len()..).unwrap_or_default().trim_start();
            // A word of the sentence may stand right before it.
            let glued = word.find("/onnxruntime_src/").unwrap_or(0);
            let said = text.get(..at + glued).unwrap_or_default();
            // One place's words may quote another's.
            return format!("{said}{}", without_source(without_signature(rest)));
        }
        at += word.len() + 1;
    }
    text.to_owned()
}

/// What follows a C++ function's signature, or its name; all of it, where that is nothing.
fn without_signature(text: &str) -> &str {
    let first = text.split(' ').next().unwrap_or_default();
    let before_bracket = text.split('(').next().unwrap_or_default();
    let mut end = first.len();
    if before_bracket.contains("::") || first.contains('(') {
        let (mut depth, mut closed) = (0i32, false);
        for (at, c) in text.char_indices() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => {
                    depth -= 1;
                    closed = true;
                }
                ' ' if depth == 0 && closed => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
    }
    let mut rest = text.get(end..).unwrap_or_default().trim_start();
    rest = rest.strip_prefix("const ").unwrap_or(rest);
    if let Some((_, after)) = rest.strip_prefix("[with ").and_then(|with| with.split_once("] ")) {
        rest = after;
    }
    if rest.is_empty() { text } else { rest }
}

fn between<'a>(text: &'a str, start: &str, end: char) -> Option<&'a str> {
    text.split_once(start)?.1.split(end).next().filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{explain, without_source};

    #[test]
    fn what_the_runtime_says_comes_without_its_source() {
        for (said, told) in [
            (
                "/onnxruntime_src/onnxruntime/core/providers/cpu/math/element_wise_ops.h:563 void \
                 onnxruntime::BroadcastIterator::Init(ptrdiff_t, ptrdiff_t) axis == 1 || axis == largest was false. Attempting \
                 to broadcast",
                "axis == 1 || axis == largest was false. Attempting to broadcast",
            ),
            ("element_wise_ops.cc:692 Compute Integer division by zero", "Integer division by zero"),
            (
                "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:360 void* \
                 onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate",
                "Failed to allocate",
            ),
            (
                "Exception during initialization: /onnxruntime_src/a/b.cc:235 T onnxruntime::F<T>::f(int) const [with T = \
                 float] Failed",
                "Exception during initialization: Failed",
            ),
            ("Got invalid dimensions for input: x", "Got invalid dimensions for input: x"),
            (
                "Load model from /m failed:/onnxruntime_src/b.h:46 void onnxruntime::f(const int&) Old",
                "Load model from /m failed:Old",
            ),
            ("t.cc:3 operator() Bad shape (1)", "Bad shape (1)"),
            ("a.cc:1 alone", "alone"),
            ("a.cc:1 f Wrong: tensor.cc:57 Size is negative", "Wrong: is negative"),
            ("ratio 3.h:x is odd (1) 12:30", "ratio 3.h:x is odd (1) 12:30"),
        ] {
            assert_eq!(without_source(said), told);
        }
    }

    #[test]
    fn the_locale_that_is_missing_is_named() {
        let said = "Exception during initialization: /onnxruntime_src/a.cc:235 Failed to construct locale with \
                    name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid";
        assert_eq!(explain(said), "its strings need the locale en_US.UTF-8, which this system lacks: install it");
        assert!(explain("no such locale").contains("en_US.UTF-8"));
    }

    #[test]
    fn neither_paths_nor_source_files_are_repeated() {
        let said = "Load model from /m.onnx failed:/onnxruntime_src/b.h:46 void f(const int&) Opset 9999 is under \
                    development. Current official support for domain ai.onnx is till opset 26.";
        let told = explain(said);
        assert!(told.starts_with("its opset is newer") && told.ends_with("till opset 26.)"), "{told}");
        assert_eq!(explain("Load model from /m.onnx failed:Something else"), "Something else");
        assert_eq!(explain("/onnxruntime_src/b.h without an end"), "/onnxruntime_src/b.h without an end");
    }

    #[test]
    fn what_is_lost_or_unknown_is_named() {
        let lost = explain("Error: t.cc:461 F External data path does not exist: \"/models/w.bin\"");
        assert!(lost.ends_with("(/models/w.bin)"), "{lost}");
        let unknown = explain("Fatal error: odd:Levitate(-1) is not a registered function/op");
        assert!(unknown.contains("Levitate") && unknown.contains("standard operators"), "{unknown}");
        assert!(explain("Load model from x failed:No graph was found in the protobuf.").contains("cut short"));
    }
}
