//! Keys that all replicas have in common, sealed.
use crate::login::session::Unavailable;
use crate::store::SqlStore;
use crate::store::database::sql;
use zeroize::Zeroizing;

impl SqlStore {
    /// The key of this name: the one that is there, or `new`, if nobody has made one before.
    ///
    /// # Errors
    /// The store could not be asked, or the key is sealed under another key than ours.
    pub async fn shared_secret(&self, name: &str, new: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unavailable> {
        let purpose = format!("secret:{name}");
        let add = sql("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
        self.write(add.bind(name).bind(self.seal().seal(&purpose, new)?)).await?;
        let rows = self.change(sql("SELECT value FROM secrets WHERE name = $1").bind(name)).await?;
        let gone = || Unavailable(format!("the shared key `{name}` was removed at this moment"));
        self.seal().open(&purpose, &rows.first().ok_or_else(gone)?.bytes("value")?)
    }
}
