//! The JSON reader against serde_json.

use proptest::prelude::*;

use super::super::json::Cursor;

fn reads(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.skip().and_then(|()| cursor.end()).is_ok()
}

#[test]
fn odd_texts_are_read_as_serde_json_reads_them() {
    for text in [
        "[]",
        "{}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "[[],{}]",
        "tru",
        "truex",
        "\"\\x\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "[}",
        "{]",
        "-",
        "1.",
        "01",
        " 1 ",
        "\u{feff}1",
        "1 1",
        "\"\\u00zz\"",
        "[1}",
        "{\"a\":[1}",
    ] {
        let serde = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        assert_eq!(reads(text), serde, "{text}");
    }
}

#[test]
fn escapes_are_resolved_and_half_of_a_pair_is_refused() {
    let decode = |text: &str| {
        let mut cursor = Cursor::new(text);
        cursor.string().and_then(|text| text.decode().map(|text| text.into_owned()))
    };
    for text in [r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#, r#""""#, r#""\u0000a\u0000""#] {
        assert_eq!(decode(text), Ok(serde_json::from_str::<String>(text).unwrap()));
    }
    for text in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\ude00""#] {
        assert!(decode(text).is_err() && serde_json::from_str::<String>(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_json_is_what_serde_json_says(text in "[\\[\\]{}\",:0-9a\\\\un.eE+ \\-]{0,24}") {
        prop_assert_eq!(reads(&text), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }
}
