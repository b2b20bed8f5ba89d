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

fn between<'a>(text: &'a str, start: &str, end: char) -> Option<&'a str> {
    text.split_once(start)?.1.split(end).next().filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::explain;

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
