//! What an unquoted scalar is: the core schema of YAML 1.2 (section 10.3.2), in which `no` and `off` are words.
use super::Kind;

pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_number(text) => Kind::Number(text.to_owned()),
        _ => Kind::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| of(&byte));
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, |byte| matches!(byte, b'0'..=b'7'));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, u8::is_ascii_hexdigit);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return true,
        ".nan" | ".NaN" | ".NAN" => return unsigned.len() == text.len(),
        _ => {}
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| digits(exponent, u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_core_schema() {
        for number in "0 7 -1 +12 007 0o17 0x1F 1.5 1. .5 -0.5 1e5 1.5E-3 .inf -.INF .nan".split(' ') {
            assert!(matches!(resolve(number), Kind::Number(text) if text == number), "{number}");
        }
        for word in "0o8 0x 0xg 1_000 1.2.3 10.0.0.1 - + . e5 1e 1e+ -.nan 2026-12-01 12:30 08h ..5 0b11".split(' ') {
            assert!(matches!(resolve(word), Kind::Text(text) if text == word), "{word}");
        }
    }

    #[test]
    fn nothing_and_truth_have_three_spellings_each() {
        assert!("~ null Null NULL".split(' ').all(|word| matches!(resolve(word), Kind::Null)));
        assert!("true True TRUE".split(' ').all(|word| matches!(resolve(word), Kind::Bool(true))));
        assert!("false False FALSE".split(' ').all(|word| matches!(resolve(word), Kind::Bool(false))));
        assert!("nUll tRue yes No on OFF y n".split(' ').all(|word| matches!(resolve(word), Kind::Text(_))));
    }
}
