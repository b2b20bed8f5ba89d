//! JSON numbers: read once, turned exactly into the type that is wanted.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// A number as it stands in the text: `±mantissa · 10^exponent`.
#[derive(Clone, Copy)]
pub(super) struct Number<'a> {
    /// Its characters.
    pub text: &'a str,
    negative: bool,
    /// All digits without the point; meaningless unless `exact`.
    mantissa: u64,
    exponent: i32,
    /// Whether the mantissa holds every digit.
    exact: bool,
    /// Whether there is neither a point nor an exponent.
    integer: bool,
}

/// The number that starts at `start`, and where it ends; `None` where JSON's grammar has none.
// Inlined wherever a whole array is read: the parts of the number then stay in registers.
#[inline(always)]
pub(super) fn scan(text: &str, start: usize) -> Option<(Number<'_>, usize)> {
    let bytes = text.as_bytes();
    let mut at = start;
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(negative);

    let mut mantissa = 0u64;
    let mut digits = |at: &mut usize| {
        let from = *at;
        while let Some(digit @ b'0'..=b'9') = bytes.get(*at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit & 0xf));
            *at += 1;
        }
        *at - from
    };

    let leading_zero = bytes.get(at) == Some(&b'0');
    let whole = digits(&mut at);
    if whole == 0 || (leading_zero && whole > 1) {
        return None;
    }
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        fraction = digits(&mut at);
        if fraction == 0 {
            return None;
        }
    }
    // Nineteen digits always fit 64 bits.
    let exact = whole + fraction <= 19;
    let mut exponent = 0i32;
    let mut integer = fraction == 0;
    if let Some(b'e' | b'E') = bytes.get(at) {
        integer = false;
        at += 1;
        let down = bytes.get(at) == Some(&b'-');
        at += usize::from(down || bytes.get(at) == Some(&b'+'));
        let from = at;
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            exponent = exponent.saturating_mul(10).saturating_add(i32::from(digit & 0xf));
            at += 1;
        }
        if at == from {
            return None;
        }
        exponent = if down { exponent.saturating_neg() } else { exponent };
    }
    let exponent = if exact { exponent.saturating_sub(fraction as i32) } else { 0 };
    Some((Number { text: text.get(start..at)?, negative, mantissa, exponent, exact, integer }, at))
}

impl Number<'_> {
    /// The double, where it is the product or quotient of two doubles that are exact: then it is rounded once, rightly
    /// (W. D. Clinger, "How to Read Floating Point Numbers Accurately", 1990).
    #[inline]
    fn quick(&self) -> Option<f64> {
        if !self.exact || self.mantissa > 1 << 53 {
            return None;
        }
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let mantissa = self.mantissa as f64;
        let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The nearest double; `None` where that is infinite.
    #[inline]
    pub fn to_f64(self) -> Option<f64> {
        self.quick().or_else(|| self.text.parse().ok()).filter(|value| value.is_finite())
    }

    /// The nearest single; `None` where that is infinite.
    #[inline]
    pub fn to_f32(self) -> Option<f32> {
        // Rounding the double again is right unless it fell halfway between two singles: then it may hide on which
        // side the text was. Below the least normal single the halves lie elsewhere.
        const HALF: u64 = 1 << 28;
        let quick = self.quick().filter(|double| {
            let far_from_half = double.to_bits() & ((HALF << 1) - 1) != HALF;
            *double == 0.0 || (far_from_half && double.abs() >= f64::from(f32::MIN_POSITIVE))
        });
        match quick {
            Some(double) => Some(double as f32),
            None => self.text.parse().ok(),
        }
        .filter(|value| value.is_finite())
    }

    /// The integer; `None` for a fraction, a negative one, or one that 64 bits do not hold.
    #[inline]
    pub fn to_u64(self) -> Option<u64> {
        let magnitude = self.magnitude()?;
        (!self.negative || magnitude == 0).then_some(magnitude)
    }

    /// The integer; `None` for a fraction or one that 64 bits do not hold.
    #[inline]
    pub fn to_i64(self) -> Option<i64> {
        let magnitude = self.magnitude()?;
        if self.negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
    }

    #[inline]
    fn magnitude(&self) -> Option<u64> {
        match (self.integer, self.exact) {
            (false, _) => None,
            (true, true) => Some(self.mantissa),
            (true, false) => self.text.trim_start_matches('-').parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Option<Number<'_>> {
        scan(text, 0).filter(|(_, end)| *end == text.len()).map(|(number, _)| number)
    }

    #[test]
    fn only_what_json_calls_a_number_is_one() {
        for good in ["0", "-0", "10", "1.5", "1e5", "1E+5", "-1.25e-3"] {
            assert!(number(good).is_some(), "{good}");
        }
        for bad in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1_0", "NaN", "-Infinity"] {
            assert!(number(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn req_31_integers_are_exact_to_the_last_bit() {
        assert_eq!(number("18446744073709551615").and_then(Number::to_u64), Some(u64::MAX));
        assert_eq!(number("18446744073709551616").and_then(Number::to_u64), None);
        assert_eq!(number("-9223372036854775808").and_then(Number::to_i64), Some(i64::MIN));
        assert_eq!(number("-9223372036854775809").and_then(Number::to_i64), None);
        assert_eq!(number("9223372036854775807").and_then(Number::to_i64), Some(i64::MAX));
        assert_eq!(number("9223372036854775808").and_then(Number::to_i64), None);
        assert_eq!(number("-0").and_then(Number::to_u64), Some(0));
        assert_eq!(number("1.0").and_then(Number::to_i64), None);
    }

    #[test]
    fn what_a_float_cannot_hold_is_none_and_never_infinite() {
        assert_eq!(number("1e39").and_then(Number::to_f32), None);
        assert_eq!(number("3.4028235e38").and_then(Number::to_f32), Some(f32::MAX));
        assert_eq!(number("1e999999999999").and_then(Number::to_f64), None);
        assert_eq!(number("1e-999999999999").and_then(Number::to_f64), Some(0.0));
        assert_eq!(number("-0").and_then(Number::to_f32).map(f32::to_bits), Some((-0.0f32).to_bits()));
    }

    fn agrees(text: &str) {
        let number = number(text).unwrap();
        let single: f32 = text.parse().unwrap();
        let double: f64 = text.parse().unwrap();
        assert_eq!(number.to_f32().map(f32::to_bits), single.is_finite().then(|| single.to_bits()), "{text}");
        assert_eq!(number.to_f64().map(f64::to_bits), double.is_finite().then(|| double.to_bits()), "{text}");
    }

    proptest! {
        #[test]
        fn req_47_floats_are_read_as_rightly_as_the_standard_library_does(bits: u64, digits in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?(e-?[0-9]{1,3})?") {
            agrees(&digits);
            for double in [f64::from_bits(bits), f64::from(f32::from_bits(bits as u32))] {
                if double.is_finite() {
                    agrees(&format!("{double:?}"));
                    agrees(&format!("{:?}", double as f32).replace("inf", "0"));
                }
            }
        }

        #[test]
        fn req_47_a_text_just_off_the_middle_of_two_singles_goes_to_the_nearer(bits in 0u32..0x7f7f_ffff, off in -2i64..=2) {
            let (low, high) = (f64::from(f32::from_bits(bits)), f64::from(f32::from_bits(bits + 1)));
            let middle = f64::from_bits((((low + high) / 2.0).to_bits() as i64 + off).max(0) as u64);
            agrees(&format!("{middle:e}"));
            agrees(&format!("{middle:.17e}"));
        }
    }
}
