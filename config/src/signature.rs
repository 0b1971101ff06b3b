//! Whether a policy file is the one that somebody signed: a minisign signature (Ed25519) in a file beside it. Verified
//! on the bytes before anything of them is parsed.
use crate::at::At;
use crate::findings::Findings;
use crate::place::Place;
use crate::units::Mistake;
use minisign_verify::{PublicKey, Signature};
use std::path::{Path, PathBuf};

/// Whose signature is asked for. Without a key that can be read nothing counts as signed.
pub(crate) struct Signer(Option<PublicKey>);

impl Signer {
    pub fn of(at: &At<String>, findings: &mut Findings) -> Self {
        let key = at.text().and_then(|text| PublicKey::from_base64(text.trim()).ok());
        if key.is_none() && at.text().is_some() {
            let mistake = Mistake::new("this is not a minisign public key");
            findings.error(&at.place, mistake.hint("write the second line of `minisign.pub`, which begins with `RW`"));
        }
        Self(key)
    }

    /// The signature, if it fits; otherwise why not is reported where the file is named.
    pub fn verify(
        &self,
        path: &Path,
        bytes: &[u8],
        blamed: &Place,
        findings: &mut Findings,
    ) -> Option<(PathBuf, String)> {
        let key = self.0.as_ref()?;
        let shown = path.display();
        let beside = signature_of(path);
        let mut refuse = |message: String, hint: String| {
            findings.error(blamed, Mistake::new(message).hint(hint));
            None
        };
        let sign = format!("sign it with the key of `policy_signed_by`: `minisign -Sm {shown}`");
        let text = match std::fs::read_to_string(&beside) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return refuse(
                    format!("policy file `{shown}` is not signed: `{}` does not exist", beside.display()),
                    sign,
                );
            }
            Err(error) => {
                return refuse(format!("signature `{}` cannot be read: {error}", beside.display()), sign);
            }
        };
        let signature = match Signature::decode(&text) {
            Ok(signature) => signature,
            Err(_) => return refuse(format!("`{}` is not a minisign signature", beside.display()), sign),
        };
        match key.verify(bytes, &signature, false) {
            Ok(()) => Some((beside, text)),
            Err(_) => refuse(
                format!(
                    "the signature of policy file `{shown}` does not fit: it was changed since, or signed by another key"
                ),
                sign,
            ),
        }
    }
}

/// Where the signature of a file stands.
pub(crate) fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}
