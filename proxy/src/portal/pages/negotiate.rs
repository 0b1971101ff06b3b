//! What the caller can read: a page or a problem document, English or German.
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, AsHeaderName, UPGRADE};
use torhaus_authz::Language;

/// True for a browser that navigates. Scripts, sockets and tools get JSON: a page would only be noise to them.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    if headers.contains_key(UPGRADE) {
        return false;
    }
    // Android's WebView sends its package name in X-Requested-With when it navigates, so only the scripts' words count.
    let by_script = values(headers, "x-requested-with")
        .any(|v| v.eq_ignore_ascii_case("xmlhttprequest") || v.eq_ignore_ascii_case("fetch"));
    if by_script {
        return false;
    }
    if let Some(mode) = headers.get("sec-fetch-mode")
        && mode.as_bytes() != b"navigate"
    {
        return false;
    }
    accepts_html(headers)
}

/// The language of the page; English for whoever reads neither, or does not say.
pub fn language(headers: &HeaderMap) -> Language {
    let mut best = (Language::English, 0);
    for (range, weight) in weighted(headers, ACCEPT_LANGUAGE) {
        let language = match range.split('-').next().unwrap_or("") {
            "de" => Language::German,
            "en" => Language::English,
            _ => continue,
        };
        if weight > best.1 {
            best = (language, weight);
        }
    }
    best.0
}

/// HTML must be named and not stand behind JSON; `*/*` alone is what tools send.
fn accepts_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    let mut first_is_html = None;
    for (range, weight) in weighted(headers, ACCEPT) {
        let is_html = matches!(range.as_str(), "text/html" | "application/xhtml+xml" | "text/*");
        let is_json = range == "application/json" || range.ends_with("+json");
        if is_html || is_json {
            first_is_html.get_or_insert(is_html);
        }
        if is_html {
            html = html.max(weight);
        } else if is_json {
            json = json.max(weight);
        }
    }
    html > json || (html > 0 && html == json && first_is_html == Some(true))
}

/// The ranges of a header with their weights in thousandths (RFC 9110 s12.4.2), lower case; a broken weight counts as 0.
fn weighted(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = (String, u16)> {
    values(headers, name).flat_map(|line| line.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
        let weight =
            parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="))).map_or(1000, thousandths);
        Some((range, weight))
    })
}

fn thousandths(text: &str) -> u16 {
    let weight = text.parse::<f32>().unwrap_or(0.0);
    // Between 0 and 1000 after the clamp, so the cast loses only what stands behind the third digit.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
    let thousandths = (weight.clamp(0.0, 1.0) * 1000.0).round() as u16;
    thousandths
}

fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'static str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn browsers_that_navigate_get_pages_and_all_others_get_json() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        let cases: &[(&str, Lines, bool)] = &[
            ("chrome navigates", &[("accept", CHROME), ("sec-fetch-mode", "navigate")], true),
            ("an older browser", &[("accept", CHROME)], true),
            ("android web view", &[("accept", CHROME), ("x-requested-with", "com.example.app")], true),
            (
                "a form is sent",
                &[("accept", CHROME), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
                true,
            ),
            ("jquery", &[("accept", "*/*"), ("x-requested-with", "XMLHttpRequest")], false),
            ("htmx asks for html by script", &[("accept", "text/html, */*"), ("sec-fetch-mode", "cors")], false),
            ("a script marks itself", &[("accept", CHROME), ("x-requested-with", "XMLHttpRequest")], false),
            ("an image", &[("accept", "image/avif,*/*"), ("sec-fetch-mode", "no-cors")], false),
            ("a socket", &[("accept", CHROME), ("upgrade", "websocket")], false),
            ("curl", &[("accept", "*/*")], false),
            ("nothing said", &[], false),
            ("axios", &[("accept", "application/json, text/plain, */*")], false),
            ("json first", &[("accept", "application/json, text/html")], false),
            ("html first", &[("accept", "text/html, application/json")], true),
            ("json by weight", &[("accept", "text/html;q=0.5, application/problem+json")], false),
            ("html by weight", &[("accept", "application/json;q=0.5"), ("accept", "text/html;q=0.9")], true),
            ("html refused", &[("accept", "text/html;q=0, */*")], false),
            ("broken weight", &[("accept", "text/html;q=nan")], false),
        ];
        for (what, lines, expected) in cases {
            assert_eq!(prefers_html(&headers(lines)), *expected, "{what}");
        }
    }

    #[test]
    fn the_language_is_the_readers_first_of_ours() {
        for (line, expected) in [
            ("de-DE,de;q=0.9,en;q=0.8", Language::German),
            ("en-GB,en;q=0.9,de;q=0.8", Language::English),
            ("fr,de;q=0.5,en;q=0.3", Language::German),
            ("DE", Language::German),
            ("de;q=0, en;q=0.1", Language::English),
            ("fr", Language::English),
            ("*", Language::English),
            ("", Language::English),
            ("den", Language::English),
        ] {
            assert_eq!(language(&headers(&[("accept-language", line)])), expected, "{line}");
        }
        assert_eq!(language(&HeaderMap::new()), Language::English);
    }
}
