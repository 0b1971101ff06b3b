//! `WWW-Authenticate` for callers that are programs (RFC 6750 s3, RFC 9470 s3). Never a redirect: a program cannot
//! sign in on a page.
use std::time::Duration;

/// Why a caller is refused, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge<'a> {
    /// No token came. RFC 6750 s3.1: no error code then, and no hint of what the resource would need.
    Missing,
    /// Status 401. The sentence is one of our own, never a part of the token.
    InvalidToken(&'a str),
    /// Status 401: the token is good and proves too little, or too long ago.
    InsufficientAuthentication { acr_values: &'a [String], max_age: Option<Duration> },
}

impl Challenge<'_> {
    /// The value of the header.
    pub fn header(&self) -> String {
        match self {
            Self::Missing => r#"Bearer realm="torhaus""#.to_owned(),
            Self::InvalidToken(why) => {
                format!(r#"Bearer realm="torhaus", error="invalid_token", error_description="{}""#, quotable(why))
            }
            Self::InsufficientAuthentication { acr_values, max_age } => {
                let mut header = r#"Bearer realm="torhaus", error="insufficient_user_authentication", error_description="a stronger or more recent sign-in is needed""#.to_owned();
                if !acr_values.is_empty() {
                    // RFC 9470 s3: in order of preference.
                    let values: Vec<String> = acr_values.iter().map(|value| quotable(value)).collect();
                    header.push_str(&format!(r#", acr_values="{}""#, values.join(" ")));
                }
                if let Some(max_age) = max_age {
                    header.push_str(&format!(r#", max_age="{}""#, max_age.as_secs()));
                }
                header
            }
        }
    }
}

/// RFC 6750 s3: %x20-21 / %x23-5B / %x5D-7E. A quote or line break cannot leave the string.
fn quotable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_reads_as_the_rfcs_write_it() {
        let acr = ["gold".to_owned(), "pl\"at\r\ninum".to_owned()];
        let step_up =
            Challenge::InsufficientAuthentication { acr_values: &acr, max_age: Some(Duration::from_secs(300)) };
        for (challenge, header) in [
            (Challenge::Missing, r#"Bearer realm="torhaus""#),
            (
                Challenge::InvalidToken("the token has expired"),
                r#"Bearer realm="torhaus", error="invalid_token", error_description="the token has expired""#,
            ),
            (
                step_up,
                r#"Bearer realm="torhaus", error="insufficient_user_authentication", error_description="a stronger or more recent sign-in is needed", acr_values="gold platinum", max_age="300""#,
            ),
        ] {
            assert_eq!(challenge.header(), header);
        }
    }
}
